using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class GoldenIdsTests
{
    public static TheoryData<string> Cases => TokenizerCase.All;

    [Theory]
    [MemberData(nameof(Cases))]
    public void EveryStringHasHuggingFacesIds(string name)
    {
        GoldenText[] goldens = TokenizerCase.Goldens(name);
        LlamaTokenizer tokenizer = TokenizerCase.Load(name);
        Assert.All(goldens, golden =>
        {
            // Twice: the second time the pieces come from the cache.
            for (int time = 0; time < 2; time++)
            {
                Assert.Equal(golden.Ids, tokenizer.Encode(golden.Text, addBos: false, parseSpecial: true));
                Assert.Equal(golden.PlainIds ?? golden.Ids, tokenizer.Encode(golden.Text, addBos: false));
                Assert.Equal(golden.IdsWithBos, tokenizer.Encode(golden.Text, parseSpecial: true));
            }
        });
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void EveryStringComesBack(string name)
    {
        GoldenText[] goldens = TokenizerCase.Goldens(name);
        LlamaTokenizer tokenizer = TokenizerCase.Load(name);
        Assert.All(goldens, golden =>
        {
            Assert.Equal(golden.Decoded, tokenizer.Decode(golden.Ids));
            Assert.Equal(golden.DecodedSkipSpecial ?? golden.Decoded, tokenizer.Decode(golden.Ids, skipSpecialTokens: true));
            Assert.Equal(golden.DecodedSkipSpecial ?? golden.Decoded, tokenizer.Decode(golden.IdsWithBos, skipSpecialTokens: true));
        });
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void TheBosTokenIsWhatTheTemplatePutsFirst(string name)
    {
        GoldenText golden = TokenizerCase.Goldens(name)[0];
        LlamaTokenizer tokenizer = TokenizerCase.Load(name);
        Assert.Equal(golden.IdsWithBos.Length > 0 ? golden.IdsWithBos[0] : null, tokenizer.BosTokenId);
        Assert.Equal("", golden.Text);
    }
}

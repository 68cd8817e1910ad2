using System.Text.Json.Nodes;
using CsCheck;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class SpecialTokenTests
{
    public static TheoryData<string> Cases => TokenizerCase.All;

    [Theory]
    [MemberData(nameof(Cases))]
    public void PlainTextNeverGivesASpecialId(string name)
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(name);
        string[] special = [.. tokenizer.SpecialTokens.Keys];
        Assert.All(special, text => Assert.DoesNotContain(tokenizer.Encode(text, addBos: false), tokenizer.IsSpecial));
        Gen.OneOf(Gen.OneOf(special), Gen.OneOf("<", "|", ">", "a", " ", "\n", "<0x41>", "🙂")).List[1, 12].Select(string.Concat)
            .Sample(text => Assert.DoesNotContain(tokenizer.Encode(text, addBos: false), tokenizer.IsSpecial), iter: 300);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void SpecialTextBecomesItsIdWhenAsked(string name)
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(name);
        Assert.NotEmpty(tokenizer.SpecialTokens);
        Assert.All(tokenizer.SpecialTokens, special =>
        {
            Assert.Equal([special.Value], tokenizer.Encode(special.Key, addBos: false, parseSpecial: true));
            Assert.True(tokenizer.IsSpecial(special.Value));
            Assert.Equal(special.Key, tokenizer.Decode([special.Value]));
            Assert.Equal("", tokenizer.Decode([special.Value], skipSpecialTokens: true));
            Assert.Equal(special.Key, tokenizer.TokenToString(special.Value));
            Assert.Equal(special.Value, tokenizer.TokenId(special.Key));
        });
    }

    [Fact]
    public void Llama3sTwoFilesHaveTheSameSpecialTokens()
    {
        LlamaTokenizer json = TokenizerCase.Load(TokenizerCase.Llama3Json);
        LlamaTokenizer model = TokenizerCase.Load(TokenizerCase.Llama3Model);
        Assert.Equal(256, model.SpecialTokens.Count);
        Assert.Equal(json.SpecialTokens.OrderBy(token => token.Value), model.SpecialTokens.OrderBy(token => token.Value));
        Assert.Equal(json.VocabSize, model.VocabSize);
        Assert.All(Enumerable.Range(0, json.VocabSize), id => Assert.Equal(json.TokenToString(id), model.TokenToString(id)));
    }

    [Fact]
    public void AddedTokensThatAreNotSpecialAreFoundAlways()
    {
        LlamaTokenizer tokenizer = WithAdded("<tool>", special: false);
        int[] ids = [tokenizer.TokenId("a")!.Value, 4096, tokenizer.TokenId("b")!.Value];
        Assert.Equal(ids, tokenizer.Encode("a<tool>b", addBos: false));
        Assert.False(tokenizer.IsSpecial(4096));
        Assert.Equal("a<tool>b", tokenizer.Decode(ids, skipSpecialTokens: true));
    }

    [Fact]
    public void TheLongestTokenThatBeginsFirstWins()
    {
        LlamaTokenizer tokenizer = WithAdded("<|eot_id|><|eot_id|>", special: true);
        int eot = tokenizer.TokenId("<|eot_id|>")!.Value;
        Assert.Equal([4096, eot], tokenizer.Encode("<|eot_id|><|eot_id|><|eot_id|>", addBos: false, parseSpecial: true));
    }

    [Fact]
    public void StrippingTokensSwallowTheSpaceBesideThem()
    {
        LlamaTokenizer tokenizer = WithAdded("<x>", special: true, token => (token["lstrip"], token["rstrip"]) = (true, true));
        int[] ab = [tokenizer.TokenId("a")!.Value, 4096, tokenizer.TokenId("b")!.Value];
        Assert.Equal(ab, tokenizer.Encode("a  <x> \n b", addBos: false, parseSpecial: true));
    }

    [Fact]
    public void SingleWordTokensStandAlone()
    {
        LlamaTokenizer tokenizer = WithAdded("zq", special: false, token => token["single_word"] = true);
        Assert.Contains(4096, tokenizer.Encode("a zq.", addBos: false));
        Assert.DoesNotContain(4096, tokenizer.Encode("a zqq", addBos: false));
        Assert.DoesNotContain(4096, tokenizer.Encode("azq", addBos: false));
    }

    private static LlamaTokenizer WithAdded(string content, bool special, Action<JsonObject>? change = null) => TokenizerText.LoadTiny(json =>
    {
        var token = new JsonObject { ["id"] = 4096, ["content"] = content, ["single_word"] = false, ["lstrip"] = false, ["rstrip"] = false, ["normalized"] = false, ["special"] = special };
        change?.Invoke(token);
        json["added_tokens"]!.AsArray().Add(token);
    });
}

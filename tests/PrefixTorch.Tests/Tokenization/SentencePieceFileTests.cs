using System.Text;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class SentencePieceFileTests
{
    private static readonly byte[] s_model = File.ReadAllBytes(Repository.Fixture("sentencepiece", "tokenizer.model"));

    [Fact]
    public void EveryTextAfterASpecialTokenGetsASpaceUnlessTheConfigurationIsNew()
    {
        Assert.Equal("▁x</s>▁x", Spell(Load(null), "x</s>x"));
        Assert.Equal("▁x</s>x", Spell(Load("""{"legacy": false}"""), "x</s>x"));
        Assert.Equal("</s>x", Spell(Load("""{"legacy": false}"""), "</s>x"));
    }

    [Fact]
    public void TheConfigurationDecidesWhatGoesRoundAText()
    {
        Assert.Equal(1, Load(null).BosTokenId);
        Assert.Null(Load("""{"add_bos_token": false}""").BosTokenId);
        LlamaTokenizer both = Load("""{"add_bos_token": true, "bos_token": "<s>", "add_eos_token": true, "eos_token": "</s>"}""");
        Assert.Equal([1, .. both.Encode("the", addBos: false), 2], both.Encode("the"));
    }

    [Fact]
    public void TheConfigurationMayAddTokens()
    {
        LlamaTokenizer tokenizer = Load("""{"added_tokens_decoder": {"0": {"content": "<unk>", "special": true}, "1200": {"content": "<|im_start|>", "special": true}, "1201": {"content": "[TOOL]", "special": false, "normalized": false}}}""");
        Assert.Equal(1202, tokenizer.VocabSize);
        Assert.Contains(1200, tokenizer.Encode("<|im_start|>user", parseSpecial: true));
        Assert.DoesNotContain(1200, tokenizer.Encode("<|im_start|>user"));
        Assert.Contains(1201, tokenizer.Encode("a[TOOL]b"));
    }

    [Fact]
    public void APieceIsBytesOrText()
    {
        LlamaTokenizer tokenizer = Load(null);
        Assert.Equal([0xE4], tokenizer.TokenBytes(tokenizer.TokenId("<0xE4>")!.Value).ToArray());
        Assert.Equal(" the", Encoding.UTF8.GetString(tokenizer.TokenBytes(tokenizer.TokenId("▁the")!.Value).Span));
        Assert.Equal("▁the", tokenizer.TokenToString(tokenizer.TokenId("▁the")!.Value));
    }

    private static string Spell(LlamaTokenizer tokenizer, string text) =>
        string.Concat(tokenizer.Encode(text, addBos: false, parseSpecial: true).Select(tokenizer.TokenToString));

    private static LlamaTokenizer Load(string? config) =>
        TokenizerText.InFolder(LlamaTokenizer.Load, ("tokenizer.model", s_model), ("tokenizer_config.json", config is null ? null : Encoding.UTF8.GetBytes(config)));
}

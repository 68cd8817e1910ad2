using System.Text.Json.Nodes;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class TokenizerJsonTests
{
    [Fact]
    public void AWholePieceIsLookedUpBeforeMerging()
    {
        // "thx" is a token that no merge makes.
        LlamaTokenizer Load(bool ignoreMerges) => TokenizerText.LoadTiny(json =>
        {
            json["model"]!["vocab"]!["thx"] = 4096;
            json["model"]!["ignore_merges"] = ignoreMerges;
        });
        Assert.Equal([4096], Load(true).Encode("thx", addBos: false));
        Assert.DoesNotContain(4096, Load(false).Encode("thx", addBos: false));
    }

    [Fact]
    public void MetaspaceGivesTheIdsOfPrependAndReplace()
    {
        // Metaspace cuts before every mark, so only texts without runs of spaces can agree.
        LlamaTokenizer normalizers = TokenizerCase.Load(TokenizerCase.SentencePieceJson);
        LlamaTokenizer metaspace = SentencePieceAsJson.Load(json =>
        {
            json["normalizer"] = null;
            json["pre_tokenizer"] = JsonNode.Parse("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}""");
            json["decoder"] = JsonNode.Parse("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}""");
        });
        const string Text = "What are the three main types of machine learning?";
        int[] ids = metaspace.Encode(Text);
        Assert.Equal(normalizers.Encode(Text), ids);
        Assert.Equal(Text, metaspace.Decode(ids, skipSpecialTokens: true));
        Assert.Equal(Text, metaspace.Decode(ids[1..]));
    }

    [Theory]
    [InlineData("always", "▁")]
    [InlineData("first", "")]
    [InlineData("never", "")]
    public void MetaspacePrefixesAsItsSchemeSays(string scheme, string afterSpecial)
    {
        LlamaTokenizer tokenizer = SentencePieceAsJson.Load(json =>
        {
            json["normalizer"] = null;
            json["pre_tokenizer"] = JsonNode.Parse($$"""{"type":"Metaspace","replacement":"▁","prepend_scheme":"{{scheme}}","split":false}""");
        });
        string[] tokens = [.. tokenizer.Encode("x</s>x", addBos: false, parseSpecial: true).Select(tokenizer.TokenToString)];
        string first = scheme == "never" ? "" : "▁";
        Assert.Equal($"{first}x</s>{afterSpecial}x", string.Concat(tokens));
    }

    [Fact]
    public void ACharacterWithoutATokenFallsToUnknownOrNothing()
    {
        LlamaTokenizer Load(bool fuse, string? unknown) => SentencePieceAsJson.Load(json =>
        {
            json["model"]!["byte_fallback"] = false;
            json["model"]!["fuse_unk"] = fuse;
            json["model"]!["unk_token"] = unknown;
        });
        int Unknowns(LlamaTokenizer tokenizer) => tokenizer.Encode("a🙂🙂b", addBos: false).Count(id => id == 0);
        Assert.Equal(1, Unknowns(Load(true, "<unk>")));
        Assert.Equal(2, Unknowns(Load(false, "<unk>")));
        Assert.Equal(0, Unknowns(Load(false, null)));
    }

    [Fact]
    public void ATokenThatIsNormalizedIsFoundInNormalizedText()
    {
        LlamaTokenizer tokenizer = SentencePieceAsJson.Load(json =>
        {
            json["normalizer"] = JsonNode.Parse("""{"type":"Replace","pattern":{"String":" "},"content":"▁"}""");
            json["added_tokens"]!.AsArray().Add(JsonNode.Parse("""{"id":1200,"content":"a word","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false}"""));
        });
        Assert.Contains(1200, tokenizer.Encode("in a word or two"));
        Assert.Equal("in a word or two", tokenizer.Decode(tokenizer.Encode("in a word or two"), skipSpecialTokens: true));
    }

    [Fact]
    public void AHoleInTheNumberingIsNoText()
    {
        LlamaTokenizer tokenizer = TokenizerText.LoadTiny(json => json["model"]!["vocab"]!["thx"] = 5000);
        Assert.Equal(5001, tokenizer.VocabSize);
        Assert.Equal("thx", tokenizer.Decode([4500, 5000, 4501]));
        Assert.Equal("", tokenizer.TokenToString(4500));
        Assert.True(tokenizer.TokenBytes(4500).IsEmpty);
        Assert.Null(tokenizer.TokenId(""));
    }

    [Fact]
    public void ATemplateMayEndAText()
    {
        LlamaTokenizer tokenizer = TokenizerText.LoadTiny(json =>
        {
            JsonNode template = json["post_processor"]!["processors"]![1]!;
            template["single"]!.AsArray().Add(JsonNode.Parse("""{"SpecialToken":{"id":"<|begin_of_text|>","type_id":0}}"""));
        });
        Assert.Equal([4080, .. tokenizer.Encode("a", addBos: false), 4080], tokenizer.Encode("a"));
    }

    [Theory]
    [InlineData("{\"add_bos_token\": false}", null)]
    [InlineData("{\"add_bos_token\": true}", 4080)]
    [InlineData("{}", 4080)]
    public void TheConfigurationMayTakeTheTemplatesTokenAway(string config, int? bos)
    {
        string json = File.ReadAllText(Path.Combine(Repository.TinyTolstoy, "tokenizer.json"));
        Assert.Equal(bos, TokenizerText.Load(json, config).BosTokenId);
    }

    [Fact]
    public void TheConfigurationMayAddATokenThatTheTemplateLacks()
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(Repository.TinyTolstoy, "tokenizer.json")))!.AsObject();
        json["post_processor"] = null;
        Assert.Null(TokenizerText.Load(json.ToJsonString()).BosTokenId);
        Assert.Equal(4081, TokenizerText.Load(json.ToJsonString(), """{"add_bos_token": true, "bos_token": {"content": "<|end_of_text|>"}}""").BosTokenId);
        var error = Assert.Throws<TokenizerException>(() => TokenizerText.Load(json.ToJsonString(), """{"add_bos_token": true, "bos_token": "<q>"}"""));
        Assert.Contains("<q>", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void HalfASurrogatePairIsAReplacementCharacter()
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(TokenizerCase.TinyTolstoy);
        Assert.Equal(tokenizer.Encode("a\uFFFDb🙂"), tokenizer.Encode("a\ud83db🙂"));
        Assert.Equal(tokenizer.Encode("🙂\uFFFD"), tokenizer.Encode("🙂\ude42"));
    }

    [Fact]
    public void ManyThreadsMayEncodeAtOnce()
    {
        LlamaTokenizer tokenizer = LlamaTokenizer.Load(Repository.TinyTolstoy);
        GoldenText[] goldens = TokenizerCase.Goldens(TokenizerCase.TinyTolstoy);
        Parallel.For(0, 8, thread =>
        {
            for (int i = 0; i < goldens.Length; i++)
            {
                GoldenText golden = goldens[(i + (thread * 31)) % goldens.Length];
                Assert.Equal(golden.Ids, tokenizer.Encode(golden.Text, addBos: false, parseSpecial: true));
            }
        });
    }
}

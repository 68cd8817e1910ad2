using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class RefusalTests
{
    [Theory]
    [InlineData("normalizer", """{"type":"NFC"}""", "normalizer", "NFC")]
    [InlineData("normalizer", """{"type":"Replace","pattern":{"Regex":" +"},"content":" "}""", "normalizer Replace.pattern", "String")]
    [InlineData("pre_tokenizer", """{"type":"Whitespace"}""", "pre_tokenizer", "Whitespace")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"a"},"behavior":"Removed","invert":false}""", "pre_tokenizer Split", "Removed")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated","invert":false}""", "pre_tokenizer Split", "regular expression")]
    [InlineData("post_processor", """{"type":"BertProcessing","sep":["a",1],"cls":["b",2]}""", "post_processor", "BertProcessing")]
    [InlineData("post_processor", """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[q]","type_id":0}}],"pair":[],"special_tokens":{}}""", "post_processor.single", "[q]")]
    [InlineData("decoder", """{"type":"WordPiece","prefix":"##","cleanup":true}""", "decoder", "WordPiece")]
    [InlineData("decoder", "null", "decoder", "spaces")]
    [InlineData("truncation", """{"direction":"Right","max_length":512,"strategy":"LongestFirst","stride":0}""", "truncation", "512")]
    [InlineData("padding", """{"strategy":{"Fixed":8},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"x"}""", "padding", "Fixed")]
    [InlineData("surprise", "1", "surprise", "unknown")]
    public void WhatIsNotUnderstoodIsRefusedByName(string field, string value, string where, string what) =>
        AssertRefused(json => json[field] = JsonNode.Parse(value), where, what);

    [Theory]
    [InlineData("type", "\"WordPiece\"", "model.type", "WordPiece")]
    [InlineData("vocab", "[[\"a\",-1.5]]", "model.vocab", "BPE")]
    [InlineData("dropout", "0.1", "model.dropout", "0.1")]
    [InlineData("end_of_word_suffix", "\"_w\"", "model.end_of_word_suffix", "_w")]
    [InlineData("continuing_subword_prefix", "\"##\"", "model.continuing_subword_prefix", "##")]
    [InlineData("unk_token", "\"<none>\"", "model.unk_token", "<none>")]
    [InlineData("surprise", "true", "model.surprise", "unknown")]
    [InlineData("merges", """[["t","h"],["t","zzzz"]]""", "model.merges[1]", "zzzz")]
    [InlineData("merges", """["t h","th"]""", "model.merges[1]", "th")]
    [InlineData("merges", "null", "model.merges", "list")]
    public void WhatIsNotUnderstoodInTheModelIsRefusedByName(string field, string value, string where, string what) =>
        AssertRefused(json => json["model"]![field] = JsonNode.Parse(value), where, what);

    [Fact]
    public void PaddingToTheLongestIsHarmless() =>
        TokenizerText.LoadTiny(json => json["padding"] = JsonNode.Parse("""{"strategy":"BatchLongest","direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"x"}"""));

    [Fact]
    public void AFolderWithoutATokenizerIsRefused() =>
        AssertMessage(() => TokenizerText.InFolder(LlamaTokenizer.Load), "tokenizer.json", "tokenizer.model");

    [Fact]
    public void AMissingFileIsRefused() =>
        AssertMessage(() => LlamaTokenizer.Load(Path.Combine(Path.GetTempPath(), "no-such-folder", "tokenizer.json")), "no-such-folder");

    [Theory]
    [InlineData("{\"model\": {")]
    [InlineData("not json")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("{\"model\": 3}")]
    [InlineData("{\"added_tokens\": 3}")]
    [InlineData("{\"version\": \"1.0\", \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": \"b\"}, \"merges\": []}}")]
    public void BrokenJsonIsRefused(string json) => AssertMessage(() => TokenizerText.Load(json), "tokenizer.json");

    [Fact]
    public void EveryCutOfATokenizerJsonIsRefused()
    {
        byte[] whole = File.ReadAllBytes(Path.Combine(Repository.TinyTolstoy, "tokenizer.json"));
        for (int length = 0; length < whole.Length - 2; length += 4999)
        {
            AssertMessage(() => LoadFile("tokenizer.json", whole[..length]), "tokenizer.json");
        }
    }

    [Fact]
    public void EveryCutOfASentencePieceModelIsRefused()
    {
        byte[] whole = File.ReadAllBytes(Repository.Fixture("sentencepiece", "tokenizer.model"));
        for (int length = 0; length < whole.Length - 20; length += 7)
        {
            AssertMessage(() => LoadFile("tokenizer.model", whole[..length]), "tokenizer.model");
        }
    }

    [Theory]
    [InlineData("IQ== 0\nIg== 2\n", "line 2", "rank is 2")]
    [InlineData("IQ== 0\nIg==\n", "line 2", "Ig==")]
    [InlineData("IQ== 0\n%%%% 1\n", "line 2", "%%%%")]
    [InlineData("IQ== 0\nIg== 1\n", "byte 0x00", "whole")]
    public void DamagedRanksAreRefused(string content, string where, string what) =>
        AssertMessage(() => LoadFile("tokenizer.model", Encoding.UTF8.GetBytes(content)), where, what);

    [Theory]
    [InlineData("tokenizer.json")]
    [InlineData("tokenizer.model")]
    public void ADamagedFileIsRefusedOrReadButNeverBreaks(string name)
    {
        byte[] whole = File.ReadAllBytes(name == "tokenizer.json" ? Path.Combine(Repository.TinyTolstoy, name) : Repository.Fixture("sentencepiece", name));
        Gen.Select(Gen.Int[0, whole.Length - 1], Gen.Byte).Array[1, 3].Sample(
            damage =>
            {
                byte[] damaged = [.. whole];
                foreach (var (at, value) in damage)
                {
                    damaged[at] = value;
                }

                try
                {
                    LlamaTokenizer tokenizer = LoadFile(name, damaged);
                    tokenizer.Decode(tokenizer.Encode("What are the three main types? 🙂"));
                }
                catch (TokenizerException error)
                {
                    Assert.Contains(name, error.Message, StringComparison.Ordinal);
                }
            },
            iter: 200);
    }

    [Theory]
    [InlineData("""[{"id":1,"content":"a"},{"id":2,"content":"a"}]""", "twice")]
    [InlineData("""[{"id":5000,"content":"a"},{"id":5000,"content":"b"}]""", "5000")]
    [InlineData("""[{"id":1000000000,"content":"a"}]""", "1000000000")]
    [InlineData("""[{"content":"a"}]""", "added_tokens")]
    [InlineData("""[{"id":1}]""", "content")]
    public void AddedTokensThatContradictThemselvesAreRefused(string tokens, string what) =>
        AssertRefused(json => json["added_tokens"] = JsonNode.Parse(tokens), what);

    [Fact]
    public void AnExpressionWithCharactersBeyondTheBasicPlaneIsRefused() =>
        AssertRefused(json => json["pre_tokenizer"]!["pretokenizers"]![0]!["pattern"]!["Regex"] = "[𐐀-𐑏]+", "pre_tokenizer Split", "basic plane");

    [Fact]
    public void ABrokenConfigurationIsRefused() =>
        AssertMessage(() => TokenizerText.Load(File.ReadAllText(Path.Combine(Repository.TinyTolstoy, "tokenizer.json")), "{"), "tokenizer_config.json");

    private static LlamaTokenizer LoadFile(string name, byte[] content) => TokenizerText.InFolder(LlamaTokenizer.Load, (name, content));

    private static void AssertRefused(Action<JsonObject> change, params string[] expected) => AssertMessage(() => TokenizerText.LoadTiny(change), ["tokenizer.json", .. expected]);

    private static void AssertMessage(Func<object> load, params string[] expected)
    {
        var error = Assert.Throws<TokenizerException>(load);
        Assert.All(expected, text => Assert.Contains(text, error.Message, StringComparison.Ordinal));
    }
}

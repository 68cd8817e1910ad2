using System.Text.Json;
using System.Text.Json.Nodes;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class FingerprintTests
{
    private static readonly string s_tiny = TokenizerCase.Load(TokenizerCase.TinyTolstoy).Fingerprint;
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    [Fact]
    public void ItIs32HexDigits() => Assert.Matches("^[0-9a-f]{32}$", s_tiny);

    [Fact]
    public void FormattingAndTheOrderOfFieldsChangeNothing()
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(Repository.TinyTolstoy, "tokenizer.json")))!.AsObject();
        JsonObject model = json["model"]!.AsObject();
        var merges = model["merges"]!.AsArray().Select(pair => (JsonNode)$"{pair![0]} {pair[1]}").ToArray();
        model.Remove("merges");
        model.Insert(0, "merges", new JsonArray(merges)); // Before the vocabulary, and as files had them before 2024.
        var vocabulary = model["vocab"]!.AsObject().Reverse().Select(entry => KeyValuePair.Create(entry.Key, entry.Value?.DeepClone())).ToArray();
        model["vocab"] = new JsonObject(vocabulary);
        json["decoder"]!["trim_offsets"] = false;
        Assert.Equal(s_tiny, TokenizerText.Load(json.ToJsonString(s_indented)).Fingerprint);
    }

    [Fact]
    public void WhatDecidesIdsChangesIt()
    {
        Action<JsonObject>[] changes =
        [
            json => Swap(json["model"]!["merges"]!.AsArray(), 0, 1),
            json => json["model"]!["merges"]!.AsArray().RemoveAt(3000),
            json => json["model"]!["ignore_merges"] = false,
            json => json["model"]!["vocab"]!["zzzzzz"] = 4096,
            json => json["added_tokens"]![3]!["content"] = "<|else|>",
            json => json["added_tokens"]![3]!["special"] = false,
            json => json["pre_tokenizer"]!["pretokenizers"]![0]!["pattern"]!["Regex"] = KnownPatterns.Gpt2,
            json => json["pre_tokenizer"]!["pretokenizers"]!.AsArray().RemoveAt(0),
            json => json["post_processor"] = null,
            json => json["normalizer"] = JsonNode.Parse("""{"type":"Prepend","prepend":" "}"""),
        ];
        string[] fingerprints = [s_tiny, .. changes.Select(change => TokenizerText.LoadTiny(change).Fingerprint)];
        Assert.Equal(fingerprints.Length, fingerprints.Distinct().Count());
    }

    [Fact]
    public void ItStaysWhatItWas() =>
        // Saved states name it: when this changes, TokenizerFingerprint's version must, and old states are refused.
        Assert.Equal("cd53be4e91b84a68b7107268bdaa30d0", s_tiny);

    private static void Swap(JsonArray array, int a, int b)
    {
        JsonNode first = array[a]!.DeepClone();
        array[a] = array[b]!.DeepClone();
        array[b] = first;
    }
}

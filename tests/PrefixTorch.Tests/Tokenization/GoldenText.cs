using System.Text.Json;
using System.Text.Json.Serialization;

namespace PrefixTorch.Tests.Tokenization;

/// <summary>One string of a golden_ids.json: what Hugging Face's tokenizer makes of it.</summary>
internal sealed class GoldenText
{
    [JsonPropertyName("text")]
    public required string Text { get; init; }

    [JsonPropertyName("ids")]
    public required int[] Ids { get; init; }

    [JsonPropertyName("plain_ids")]
    public int[]? PlainIds { get; init; }

    [JsonPropertyName("ids_with_bos")]
    public required int[] IdsWithBos { get; init; }

    [JsonPropertyName("decoded")]
    public required string Decoded { get; init; }

    [JsonPropertyName("decoded_skip_special")]
    public string? DecodedSkipSpecial { get; init; }

    public static GoldenText[] Read(string file)
    {
        GoldenText[] all = JsonSerializer.Deserialize<GoldenText[]>(File.ReadAllText(file))!;
        Assert.True(all.Length > 200, $"{file} has only {all.Length} strings");
        return all;
    }
}

using System.Text.Json;

namespace PrefixTorch.Cli.Inputs;

/// <summary>Token ids as JSON: an array of integers, or an object with <c>input_ids</c>; a batch of one, as Hugging Face writes it, is its only row.</summary>
internal static class IdsFile
{
    /// <summary>Reads ids.</summary>
    /// <param name="json">The text.</param>
    /// <param name="source">Where it came from, for messages.</param>
    /// <exception cref="PrefixTorchException">It is not JSON, or not ids.</exception>
    public static int[] Parse(string json, string source)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            JsonElement ids = document.RootElement;
            if (ids.ValueKind == JsonValueKind.Object)
            {
                ids = ids.TryGetProperty("input_ids", out JsonElement inner) ? inner : throw Wrong(source, "an object without input_ids");
            }

            if (ids.ValueKind == JsonValueKind.Array && ids.GetArrayLength() == 1 && ids[0].ValueKind == JsonValueKind.Array)
            {
                ids = ids[0];
            }

            return ids.ValueKind == JsonValueKind.Array ? [.. ids.EnumerateArray().Select(id => Id(id, source))] : throw Wrong(source, Shorten(ids.GetRawText()));
        }
        catch (JsonException error)
        {
            throw new PrefixTorchException($"{source} is not JSON: {error.Message} Give an array of token ids, or an object with input_ids.", error);
        }
    }

    private static int Id(JsonElement element, string source) =>
        element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int id) && id >= 0 ? id : throw Wrong(source, $"an array with {Shorten(element.GetRawText())} in it");

    private static PrefixTorchException Wrong(string source, string found) =>
        new($"{source} holds {found}; it must hold an array of token ids, or an object with input_ids.");

    private static string Shorten(string text) => text.Length <= 40 ? text : $"{text[..40]}…";
}

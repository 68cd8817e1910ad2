using System.Text.Json;

namespace PrefixTorch.Configuration;

/// <summary>Reads token ids, which Hugging Face writes as one integer or as a list.</summary>
internal static class TokenIds
{
    /// <summary>The ids, or null where the key is absent or null.</summary>
    /// <exception cref="ConfigurationException">It is neither an id nor a list of ids.</exception>
    public static IReadOnlyList<int>? Read(JsonElement element, string key, string path) => element.ValueKind switch
    {
        JsonValueKind.Undefined or JsonValueKind.Null => null,
        JsonValueKind.Array => [.. element.EnumerateArray().Select(item => ReadOne(item, key, path))],
        _ => [ReadOne(element, key, path)],
    };

    /// <summary>The first id, or null where the key is absent, null or an empty list.</summary>
    /// <exception cref="ConfigurationException">It is neither an id nor a list of ids.</exception>
    public static int? ReadFirst(JsonElement element, string key, string path) => Read(element, key, path) is [int first, ..] ? first : null;

    private static int ReadOne(JsonElement element, string key, string path) =>
        element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int id) && id >= 0
            ? id
            : throw new ConfigurationException(path, $"{key} holds {element.GetRawText()}, which is not a token id. Correct it.");
}

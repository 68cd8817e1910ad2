using System.Text.Json;

namespace PrefixTorch.Tokenization;

/// <summary>One added token as Hugging Face's files write it.</summary>
internal static class AddedTokenJson
{
    public static AddedToken Read(string file, string field, JsonElement token, int id)
    {
        if (!token.TryGetProperty("content", out JsonElement content) || content.ValueKind != JsonValueKind.String)
        {
            throw new TokenizerException($"{file}: {field} has a token without content (id {id}).");
        }

        // Left out, `normalized` is true for a token that is not special: Hugging Face's default.
        bool special = Flag(token, "special", false);
        return new AddedToken(id, content.GetString()!, special, Flag(token, "normalized", !special), Flag(token, "lstrip", false), Flag(token, "rstrip", false), Flag(token, "single_word", false));
    }

    private static bool Flag(JsonElement token, string name, bool otherwise) => token.TryGetProperty(name, out JsonElement value) switch
    {
        true when value.ValueKind == JsonValueKind.True => true,
        true when value.ValueKind == JsonValueKind.False => false,
        _ => otherwise,
    };
}

using System.Text.Json;
using PrefixTorch.Tokenization.Chat;

namespace PrefixTorch.Tests.Tokenization.Chat;

/// <summary>Conversations as the files have them.</summary>
internal static class ChatData
{
    public static string File(string name) =>
        System.IO.File.ReadAllText(Path.Combine(Repository.Root, "tests", "PrefixTorch.Tests", "Tokenization", "Chat", "Data", name));

    public static JsonElement Json(string path) => JsonElement.Parse(System.IO.File.ReadAllBytes(path));

    public static ChatMessage[] Messages(JsonElement chat) => [.. chat.GetProperty("messages").EnumerateArray().Select(ChatMessage.FromJson)];

    public static ChatTemplateOptions Options(JsonElement chat) => new()
    {
        Tools = chat.TryGetProperty("tools", out JsonElement tools) ? [.. tools.EnumerateArray()] : null,
        Variables = chat.TryGetProperty("options", out JsonElement options) ? options.EnumerateObject().ToDictionary(option => option.Name, option => option.Value) : null,
    };

    public static Dictionary<string, JsonElement> SpecialTokens(params (string Name, string Text)[] tokens) =>
        tokens.ToDictionary(token => token.Name, token => JsonSerializer.SerializeToElement(token.Text));
}

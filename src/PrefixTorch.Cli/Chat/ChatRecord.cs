using System.Text.Json;
using PrefixTorch.Tokenization.Chat;

namespace PrefixTorch.Cli.Chat;

/// <summary>
/// What a state file records of the conversation in it: the messages of each moment and how many tokens the state had then. With
/// it a restored chat knows what was said and can go back; without it, it can only go on.
/// </summary>
internal static class ChatRecord
{
    /// <summary>The fact's name.</summary>
    public const string Fact = "chat";

    private static readonly JsonSerializerOptions s_options = new(JsonSerializerDefaults.Web);

    /// <summary>Describes the way to a moment; null where what was said is not known.</summary>
    public static string? Write(ChatNode node) => node.Messages is null ? null : JsonSerializer.Serialize(
        node.Path.Select(moment => new Moment([.. moment.Added.Select(message => new Message(message.Role, message.Content ?? ""))], moment.Length)),
        s_options);

    /// <summary>Reads a description; null where it is none, or not of a state of this length.</summary>
    public static IReadOnlyList<(IReadOnlyList<ChatMessage> Added, int Length)>? Read(string? json, int length)
    {
        Moment[]? moments;
        try
        {
            moments = json is null ? null : JsonSerializer.Deserialize<Moment[]>(json, s_options);
        }
        catch (JsonException)
        {
            return null;
        }

        if (moments is not [.., { Length: int last }] || last != length || Array.Exists(moments, moment => moment.Messages is not { Length: > 0 } || moment.Length < 1)
            || moments.Zip(moments.Skip(1)).Any(pair => pair.First.Length > pair.Second.Length))
        {
            return null;
        }

        return [.. moments.Select(moment => ((IReadOnlyList<ChatMessage>)[.. moment.Messages.Select(message => new ChatMessage(message.Role, message.Content))], moment.Length))];
    }

    private sealed record Moment(Message[] Messages, int Length);

    private sealed record Message(string Role, string Content);
}

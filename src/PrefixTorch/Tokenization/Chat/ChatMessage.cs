using System.Text.Json;

namespace PrefixTorch.Tokenization.Chat;

/// <summary>
/// One message of a conversation, as chat templates see it: a role, its text, and whatever other fields the template
/// reads. Immutable and safe from any thread.
/// </summary>
public sealed class ChatMessage
{
    private static readonly Dictionary<string, JsonElement> s_noFields = [];

    /// <summary>Creates a message.</summary>
    /// <param name="role">Who speaks: system, user, assistant, tool, ipython, or what the template knows.</param>
    /// <param name="content">What is said; null where the message has no content of its own (a tool call).</param>
    /// <param name="fields">Further fields by the template's names: tool_calls, name, tool_call_id, content that is not text.</param>
    public ChatMessage(string role, string? content, IReadOnlyDictionary<string, JsonElement>? fields = null)
    {
        Role = role;
        Content = content;
        Fields = fields ?? s_noFields;
    }

    /// <summary>Who speaks.</summary>
    public string Role { get; }

    /// <summary>What is said, or null.</summary>
    public string? Content { get; }

    /// <summary>The further fields, in the order in which a template would go through them.</summary>
    public IReadOnlyDictionary<string, JsonElement> Fields { get; }

    /// <summary>An assistant's call of one function, in the form that Hugging Face's templates read.</summary>
    /// <param name="name">The function's name.</param>
    /// <param name="arguments">Its arguments, an object.</param>
    /// <param name="id">The call's id, where the template wants one.</param>
    public static ChatMessage ToolCall(string name, JsonElement arguments, string? id = null)
    {
        var call = new Dictionary<string, object> { ["type"] = "function", ["function"] = new Dictionary<string, object> { ["name"] = name, ["arguments"] = arguments } };
        if (id is not null)
        {
            call["id"] = id;
        }

        return new ChatMessage("assistant", null, new Dictionary<string, JsonElement> { ["tool_calls"] = JsonSerializer.SerializeToElement(new[] { call }) });
    }

    /// <summary>A message as APIs and data sets write it: an object with a role.</summary>
    /// <exception cref="ChatTemplateException">It is not an object, or has no role.</exception>
    public static ChatMessage FromJson(JsonElement json)
    {
        if (json.ValueKind != JsonValueKind.Object || !json.TryGetProperty("role", out JsonElement role) || role.ValueKind != JsonValueKind.String)
        {
            throw new ChatTemplateException($"A chat message is an object with a text 'role', such as {{\"role\": \"user\", \"content\": \"Hi\"}}, but this is {json.GetRawText()}.");
        }

        string? content = null;
        var fields = new OrderedDictionary<string, JsonElement>();
        foreach (JsonProperty member in json.EnumerateObject())
        {
            if (member.Name == "content" && member.Value.ValueKind == JsonValueKind.String)
            {
                content = member.Value.GetString();
            }
            else if (member.Name != "role")
            {
                fields[member.Name] = member.Value.Clone();
            }
        }

        return new ChatMessage(role.GetString()!, content, fields);
    }
}

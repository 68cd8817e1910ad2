using System.Text.Json;

namespace PrefixTorch.Tokenization.Chat;

/// <summary>What a rendering asks for beside the messages. The names are transformers'.</summary>
public sealed record ChatTemplateOptions
{
    /// <summary>The date that prefixes are rendered with unless the caller asks for another: Llama 3.1's own default.</summary>
    /// <remarks>Today's date at the head of a prompt would make every cached prefix worthless at midnight.</remarks>
    public static readonly DateTime FixedDate = new(2024, 7, 26);

    /// <summary>Ends the text with the header of an assistant's message, so that the model answers.</summary>
    public bool AddGenerationPrompt { get; init; }

    /// <summary>Leaves the last message open, so that the model continues it. Not together with <see cref="AddGenerationPrompt"/>.</summary>
    public bool ContinueFinalMessage { get; init; }

    /// <summary>Tools the model may call: JSON schemas, as <c>{"type": "function", "function": {…}}</c>; null for none.</summary>
    public IReadOnlyList<JsonElement>? Tools { get; init; }

    /// <summary>The template's <c>date_string</c>; null leaves it to the template, whose default is 26 Jul 2024 or <see cref="Now"/>.</summary>
    public string? DateString { get; init; }

    /// <summary>What the template's <c>strftime_now</c> calls now.</summary>
    public DateTime Now { get; init; } = FixedDate;

    /// <summary>Further variables by the template's names: builtin_tools, tools_in_user_message, custom_tools, documents, enable_thinking.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Variables { get; init; }
}

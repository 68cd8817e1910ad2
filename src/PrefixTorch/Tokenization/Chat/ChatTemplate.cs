using System.Text.Json;
using PrefixTorch.Tokenization.Chat.Jinja;

namespace PrefixTorch.Tokenization.Chat;

/// <summary>
/// A model's own chat template (Jinja), rendered as transformers renders it. It runs no code but its own statements,
/// reads no files, and ends: its steps and its output are counted. Immutable and safe from any thread.
/// </summary>
public sealed class ChatTemplate
{
    // Rendered after the last message's text and then looked for, as transformers does; templates know this very text.
    private const string ContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";

    private readonly Block _block;
    private readonly IReadOnlyDictionary<string, object?> _specialTokens;
    private readonly RenderLimits _limits;

    internal ChatTemplate(string source, IReadOnlyDictionary<string, JsonElement>? specialTokens, RenderLimits limits)
    {
        Source = source;
        _block = Parser.Parse(source);
        _specialTokens = (specialTokens ?? new Dictionary<string, JsonElement>()).ToDictionary(token => token.Key, token => ToTrusted(token.Value));
        _limits = limits;
    }

    /// <summary>Reads a template's source.</summary>
    /// <param name="source">The Jinja text.</param>
    /// <param name="specialTokens">The variables bos_token, eos_token and so on: the texts of the tokenizer's special tokens.</param>
    /// <exception cref="ChatTemplateException">The source is not Jinja, or uses what is not known here; the line is named.</exception>
    public ChatTemplate(string source, IReadOnlyDictionary<string, JsonElement>? specialTokens = null)
        : this(source, specialTokens, RenderLimits.Default)
    {
    }

    /// <summary>The Jinja text.</summary>
    public string Source { get; }

    /// <summary>Renders a conversation.</summary>
    /// <exception cref="ChatTemplateException">The template refuses the conversation, or asks for what is not there.</exception>
    public RenderedChat Render(IReadOnlyList<ChatMessage> messages, ChatTemplateOptions? options = null)
    {
        options ??= new ChatTemplateOptions();
        if (options is { ContinueFinalMessage: true, AddGenerationPrompt: true })
        {
            throw new ChatTemplateException($"{nameof(options.ContinueFinalMessage)} and {nameof(options.AddGenerationPrompt)} exclude each other: the one leaves the last message open, the other begins a new one.");
        }

        if (options.ContinueFinalMessage && messages.Count == 0)
        {
            throw new ChatTemplateException($"{nameof(options.ContinueFinalMessage)} leaves the last message open, and the conversation has none; give one.");
        }

        List<object?> values = [.. messages.Select(ToValue)];
        if (options.ContinueFinalMessage)
        {
            values[^1] = WithTag(messages);
        }

        var context = new RenderContext(_limits, options.Now);
        Scope scope = Variables(context, values, options);
        try
        {
            _block.Execute(scope.Inner());
        }
        catch (InsufficientExecutionStackException error)
        {
            throw new ChatTemplateException("expressions, macros or values are nested too deeply.", context.Line, error);
        }

        TracedText text = TracedText.Concat(context.Output);
        if (options.ContinueFinalMessage)
        {
            text = CutAtTag(text, messages[^1]);
        }

        return new RenderedChat([.. text.Pieces.Select(piece => new ChatSegment(piece.Text, piece.IsTrusted))]);
    }

    private Scope Variables(RenderContext context, List<object?> messages, ChatTemplateOptions options)
    {
        var scope = new Scope(context, null);
        Functions.AddTo(scope);
        foreach ((string name, object? value) in _specialTokens)
        {
            scope.Set(name, value);
        }

        scope.Set("messages", new JinjaList(messages));
        scope.Set("tools", options.Tools is null ? null : new JinjaList(options.Tools.Select(JsonText.ToValue)));
        scope.Set("documents", null);
        scope.Set("add_generation_prompt", options.AddGenerationPrompt);
        if (options.DateString is not null)
        {
            scope.Set("date_string", TracedText.Untrusted(options.DateString));
        }

        foreach ((string name, JsonElement value) in options.Variables ?? new Dictionary<string, JsonElement>())
        {
            scope.Set(name, JsonText.ToValue(value));
        }

        return scope;
    }

    private static JinjaMapping ToValue(ChatMessage message)
    {
        var members = new List<KeyValuePair<string, object?>> { KeyValuePair.Create("role", (object?)TracedText.Untrusted(message.Role)) };
        if (message.Content is not null)
        {
            members.Add(KeyValuePair.Create("content", (object?)TracedText.Untrusted(message.Content)));
        }

        return JsonText.ToMapping(members.Concat(message.Fields.Select(field => KeyValuePair.Create(field.Key, JsonText.ToValue(field.Value)))));
    }

    private static object? ToTrusted(JsonElement json) => json.ValueKind switch
    {
        JsonValueKind.String => TracedText.Trusted(json.GetString()!),
        JsonValueKind.Array => new JinjaList(json.EnumerateArray().Select(ToTrusted)),
        _ => JsonText.ToValue(json),
    };

    private static JinjaMapping WithTag(IReadOnlyList<ChatMessage> messages)
    {
        ChatMessage last = messages[^1];
        if (last.Content is not null)
        {
            return ToValue(new ChatMessage(last.Role, last.Content + ContinueTag, last.Fields));
        }

        JinjaMapping message = ToValue(last);
        if (!message.TryGet(TracedText.Trusted("content"), out object? content) || content is not JinjaList parts)
        {
            throw new ChatTemplateException($"The last message ({last.Role}) has no text that could be continued.");
        }

        List<object?> items = [.. parts.Items];
        int at = items.FindLastIndex(item => item is JinjaMapping part && part.TryGet(TracedText.Trusted("text"), out object? text) && text is TracedText);
        if (at < 0)
        {
            throw new ChatTemplateException($"The last message ({last.Role}) has no part with text that could be continued.");
        }

        var copy = new JinjaMapping();
        foreach ((object key, object? value) in ((JinjaMapping)items[at]!).Items)
        {
            copy.Set(key, key is TracedText { Value: "text" } ? TracedText.Concat((TracedText)value!, TracedText.Untrusted(ContinueTag)) : value);
        }

        items[at] = copy;
        message.Set(TracedText.Untrusted("content"), new JinjaList(items));
        return message;
    }

    private static TracedText CutAtTag(TracedText text, ChatMessage last)
    {
        int at = text.Value.LastIndexOf(ContinueTag.TrimEnd(), StringComparison.Ordinal);
        if (at < 0 || (last.Content is not null && !text.Value.Contains(last.Content.Trim(), StringComparison.Ordinal)))
        {
            throw new ChatTemplateException($"The template leaves out the last message ({last.Role}) or parts of it, so it cannot be continued.");
        }

        TracedText cut = text.Substring(0, at);
        bool keepsSpace = string.CompareOrdinal(text.Value, at, ContinueTag, 0, ContinueTag.Length) == 0;
        return keepsSpace ? cut : cut.Substring(0, at - PythonText.TrailingSpace(cut.Value));
    }
}

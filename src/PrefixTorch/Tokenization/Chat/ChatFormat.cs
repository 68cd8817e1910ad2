namespace PrefixTorch.Tokenization.Chat;

/// <summary>
/// Conversations to token ids: a chat template and a tokenizer together. The template's special tokens become special
/// tokens; what a message spells never does. Immutable and safe from any thread.
/// </summary>
public sealed class ChatFormat
{
    private readonly ChatTemplate _template;
    private readonly ChatTemplate? _toolTemplate;
    private readonly LlamaTokenizer _tokenizer;
    private readonly SpecialTokenFinder _finder;

    /// <summary>Creates the format.</summary>
    /// <param name="template">The model's template.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="toolTemplate">The template for conversations with tools, where the model has one of its own.</param>
    public ChatFormat(ChatTemplate template, LlamaTokenizer tokenizer, ChatTemplate? toolTemplate = null)
    {
        _template = template;
        _toolTemplate = toolTemplate;
        _tokenizer = tokenizer;
        _finder = new SpecialTokenFinder(tokenizer.SpecialTokens.Keys);
    }

    /// <summary>The format of the model in a folder.</summary>
    /// <exception cref="ChatTemplateException">The folder has no chat template, or one that uses what is not known here.</exception>
    public static ChatFormat Load(string folder, LlamaTokenizer tokenizer)
    {
        var files = ChatTemplateFiles.Read(folder);
        return new ChatFormat(files.Load(), tokenizer, files.Names.Contains("tool_use") ? files.Load("tool_use") : null);
    }

    /// <summary>Renders a conversation.</summary>
    /// <exception cref="ChatTemplateException">The template refuses the conversation.</exception>
    public RenderedChat Render(IReadOnlyList<ChatMessage> messages, ChatTemplateOptions? options = null) =>
        (options?.Tools is { Count: > 0 } && _toolTemplate is not null ? _toolTemplate : _template).Render(messages, options);

    /// <summary>A conversation's ids. What begins the sequence (BOS) is the template's business and not added here.</summary>
    /// <exception cref="ChatTemplateException">The template refuses the conversation.</exception>
    public int[] Encode(IReadOnlyList<ChatMessage> messages, ChatTemplateOptions? options = null) => Encode(Render(messages, options));

    /// <summary>A rendered conversation's ids.</summary>
    /// <param name="chat">The rendered conversation.</param>
    /// <param name="parseSpecialInContent">
    /// Whether special tokens that the messages spell count as well. transformers does that; here it is off, because
    /// then whoever writes a message could end it and speak as somebody else.
    /// </param>
    public int[] Encode(RenderedChat chat, bool parseSpecialInContent = false)
    {
        List<(int Start, int Length)> meant = [.. _finder.FindTemplateTokens(chat)];
        if (parseSpecialInContent || meant.SequenceEqual(_finder.FindAll(chat.Text)))
        {
            return _tokenizer.Encode(chat.Text, addBos: false, parseSpecial: true);
        }

        // Some message spells a special token: encode the text between the template's tokens as plain text.
        var ids = new List<int>();
        int start = 0;
        foreach ((int at, int length) in meant)
        {
            ids.AddRange(Plain(start, at));
            ids.Add(_tokenizer.SpecialTokens[chat.Text.Substring(at, length)]);
            start = at + length;
        }

        return [.. ids, .. Plain(start, chat.Text.Length)];

        int[] Plain(int from, int to) => _tokenizer.EncodeAt(from == 0 ? TextPlace.Start : TextPlace.AfterToken, chat.Text[from..to]);
    }

    /// <summary>
    /// The ids to append for the next messages of a conversation whose ids so far are kept. The past is never rendered
    /// again into ids: what a model generated stays as it was generated.
    /// </summary>
    /// <param name="past">The messages that the kept ids stand for; an assistant's last one was generated after a generation prompt. May be empty.</param>
    /// <param name="next">The messages to add.</param>
    /// <param name="options">As for the past; whether a generation prompt follows is up to them.</param>
    /// <param name="lastPastId">The last kept id, which tells whether the answer's end is among them.</param>
    /// <exception cref="ChatTemplateException">The template refuses the conversation.</exception>
    public ChatTurn Append(IReadOnlyList<ChatMessage> past, IReadOnlyList<ChatMessage> next, ChatTemplateOptions? options = null, int? lastPastId = null)
    {
        options ??= new ChatTemplateOptions { AddGenerationPrompt = true };
        RenderedChat whole = Render([.. past, .. next], options);
        if (past.Count == 0)
        {
            return new ChatTurn(Encode(whole), whole.Text, null);
        }

        ChatTemplateOptions plain = options with { AddGenerationPrompt = false, ContinueFinalMessage = false };
        RenderedChat before = Render(past, plain);
        var reports = new List<string>();
        int end = EndOfPast(before, past, plain, reports);
        RenderedChat appended;
        if (whole.Text.StartsWith(before.Text, StringComparison.Ordinal))
        {
            appended = whole.From(end);
        }
        else
        {
            int common = before.Text.AsSpan().CommonPrefixLength(whole.Text);
            reports.Add($"The template would now render the past otherwise, from character {common} on ({Excerpt(before.Text, common)} became {Excerpt(whole.Text, common)}); the past is kept as it is and the new messages are appended.");
            appended = TurnAlone(before.From(end), whole, next, options);
        }

        int[] ids = Encode(appended);
        if (end < before.Text.Length && lastPastId is int last && _tokenizer.IsSpecial(last) && ids.Length > 0 && _tokenizer.IsSpecial(ids[0]))
        {
            (int start, int length) = _finder.FindTemplateTokens(appended).First();
            appended = appended.From(start + length);
            if (last != ids[0])
            {
                reports.Add($"The template ends an answer with '{_tokenizer.TokenToString(ids[0])}', the past with '{_tokenizer.TokenToString(last)}'.");
            }

            ids = ids[1..];
        }

        return new ChatTurn(ids, appended.Text, reports.Count == 0 ? null : string.Join(" ", reports));
    }

    /// <summary>
    /// Up to where the kept ids reach in the past's rendering: all of it; or, where an answer was generated, what the
    /// template writes behind the answer is not certain to be among them.
    /// </summary>
    private int EndOfPast(RenderedChat before, IReadOnlyList<ChatMessage> past, ChatTemplateOptions plain, List<string> reports)
    {
        ChatMessage answer = past[^1];
        if (answer.Role != "assistant" || past.Count < 2)
        {
            return before.Text.Length;
        }

        RenderedChat prompt = Render([.. past.Take(past.Count - 1)], plain with { AddGenerationPrompt = true });
        if (!before.Text.StartsWith(prompt.Text, StringComparison.Ordinal))
        {
            int common = before.Text.AsSpan().CommonPrefixLength(prompt.Text);
            reports.Add($"The template renders the prompt otherwise once it is answered, from character {common} on ({Excerpt(prompt.Text, common)} became {Excerpt(before.Text, common)}).");
        }

        int start = before.Text.AsSpan().CommonPrefixLength(prompt.Text);
        (int at, int _) = _finder.FindTemplateTokens(before).LastOrDefault((-1, 0));
        bool hasContent = answer.Content is not null && string.CompareOrdinal(before.Text, start, answer.Content, 0, answer.Content.Length) == 0;
        int end = at >= start ? at : hasContent ? start + answer.Content!.Length : before.Text.Length;
        if (answer.Content is not null && before.Text[start..end] != answer.Content)
        {
            reports.Add($"The template would write the answer {Excerpt(answer.Content, 0)} as {Excerpt(before.Text[start..end], 0)}; it is kept as it was generated.");
        }

        return end;
    }

    /// <summary>The new messages' own rendering: what the end of the whole has in common with rendering them alone.</summary>
    private RenderedChat TurnAlone(RenderedChat closing, RenderedChat whole, IReadOnlyList<ChatMessage> next, ChatTemplateOptions options)
    {
        RenderedChat alone = Render(next, options);
        int common = 0;
        while (common < Math.Min(alone.Text.Length, whole.Text.Length) && alone.Text[^(common + 1)] == whole.Text[^(common + 1)])
        {
            common++;
        }

        // From the first special token on: what stands before it in common is chance.
        int from = whole.Text.Length - common;
        int start = _finder.FindTemplateTokens(whole).Select(token => token.Start).FirstOrDefault(at => at >= from, from);
        RenderedChat turn = whole.From(start);
        return turn.Text.StartsWith(closing.Text, StringComparison.Ordinal) ? turn : new RenderedChat([.. closing.Segments, .. turn.Segments]);
    }

    private static string Excerpt(string text, int at)
    {
        const int Width = 24;
        string part = text.Substring(at, Math.Min(Width, text.Length - at)).Replace("\n", "\\n", StringComparison.Ordinal);
        return $"'{part}{(text.Length - at > Width ? "…" : "")}'";
    }
}

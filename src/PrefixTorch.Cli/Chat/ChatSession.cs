using PrefixTorch.Caching;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;
using PrefixTorch.Tokenization.Chat;

namespace PrefixTorch.Cli.Chat;

/// <summary>
/// A conversation with a model. The past is held as a state and never rendered or read again: every turn appends the ids of what is new. It owns the
/// states, and not the model.
/// </summary>
internal sealed class ChatSession : IDisposable
{
    // What a template writes behind any answer is the same, so this past stands for one that nobody knows.
    private static readonly ChatMessage[] s_someTurn = [new("user", "…"), new("assistant", "…")];
    private static readonly ChatTemplateOptions s_options = new() { AddGenerationPrompt = true };

    private readonly Llama _llama;
    private readonly ChatFormat _format;
    private readonly GenerationOptions _generation;
    private readonly Output _output;
    private readonly IReadOnlyList<string> _statePath;
    private readonly List<SequenceDocument> _turns = [];

    // What the states that were loaded continue.
    private readonly HashSet<string> _mustStay = [];
    private ChatMessage? _system;

    public ChatSession(Llama llama, GenerationOptions generation, Output output, IReadOnlyList<string> statePath)
    {
        _statePath = statePath;
        _llama = llama;
        _generation = generation;
        _output = output;
        _format = ChatFormat.Load(llama.Folder, llama.Tokenizer);
    }

    /// <summary>The moments of the conversation.</summary>
    public ChatTree Tree { get; } = new();

    /// <summary>What was said, where that is known.</summary>
    public IReadOnlyList<ChatMessage> Messages => Tree.Present.Messages ?? [];

    /// <summary>The answers of this session, in order.</summary>
    public IReadOnlyList<SequenceDocument> Turns => _turns;

    /// <summary>Says something as the system with the next message.</summary>
    public void Instruct(string text) => _system = new ChatMessage("system", text);

    /// <summary>Asks, and shows the answer as it comes. Cancelled, the answer ends where it is, and the conversation goes on from there.</summary>
    /// <exception cref="PrefixTorchException">The template refuses the message, or the context is full; the conversation is as it was.</exception>
    public async Task AskAsync(string text, CancellationToken cancellation)
    {
        ChatNode present = Tree.Present;
        ChatMessage[] next = [.. _system is null ? [] : new[] { _system }, new("user", text)];
        ChatTurn turn = Append(present, next);
        Continuation answer;
        int shown = 0;
        using (var bar = new PrefillBar(_output))
        {
            answer = await _llama.ContinueAsync(present.Cache, turn.Ids, _generation, ShowToken, bar, cancellation).ConfigureAwait(false);
        }

        // Of a cancelled answer, what no token carries.
        Show(answer.Text[shown..] + Environment.NewLine);
        _turns.Add(SequenceDocument.Of(_turns.Count, text, answer, answer.Report, _generation.LogProbs > 0));
        if (answer is { FinishReason: FinishReason.Cancelled, Ids.Length: 0 })
        {
            // The question may have been read in part only, so it is as if it had not been asked.
            answer.Dispose();
            _output.Note("Stopped before the answer began; the question is not kept.");
            return;
        }

        _system = null;
        Tree.Add([.. next, new ChatMessage("assistant", answer.Text)], answer.Cache);
        Tell(answer, turn.Report);

        void ShowToken(Token token)
        {
            shown += token.Text.Length;
            Show(token.Text);
        }
    }

    /// <summary>Keeps the conversation: the state, and what was said.</summary>
    /// <param name="option">What names the file, for messages.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="PrefixTorchException">Nothing has been said yet, or the file cannot be written.</exception>
    public void Save(string option, string path)
    {
        ChatNode present = Tree.Present;
        if (present.Cache is null)
        {
            throw new PrefixTorchException("Nothing has been said yet, so there is no state to save; say something first.");
        }

        Target.CheckFile(option, path, _mustStay);
        present.Cache.Save(path, new KvSaveOptions { Facts = ChatRecord.Write(present) is string record ? new Dictionary<string, string> { [ChatRecord.Fact] = record } : [] });
        _output.Note($"{present.Length} tokens saved to {path} ({new FileInfo(path).Length:N0} bytes)");
    }

    /// <summary>Goes on from a state.</summary>
    /// <param name="path">The file, for its record of what was said.</param>
    /// <param name="cache">The state, which is taken over.</param>
    public void Load(string path, KvCache cache)
    {
        using (cache)
        {
            _mustStay.UnionWith(KvStates.Files(path, _statePath).Skip(1));
            string? record = KvStateInfo.Read(path).Facts.GetValueOrDefault(ChatRecord.Fact);
            var moments = ChatRecord.Read(record, cache.Length);
            Tree.Load(moments is null ? [([], cache.Clone())] : moments.Select(moment => (moment.Added, Cut(cache, moment.Length))));
            _output.Note($"{cache.Length} tokens from {path}{(moments is null ? ", which does not say what was said: they are kept as they are" : $": {moments.Count} answer{(moments.Count == 1 ? "" : "s")}")}");
        }
    }

    public void Dispose() => Tree.Dispose();

    private static KvCache Cut(KvCache cache, int length)
    {
        KvCache cut = cache.Clone();
        cut.Truncate(length);
        return cut;
    }

    private ChatTurn Append(ChatNode present, ChatMessage[] next)
    {
        if (present.Cache is null)
        {
            return _format.Append([], next, s_options);
        }

        int[] past = present.Cache.Tokens;
        if (present.Messages is { } messages)
        {
            return _format.Append(messages, next, s_options, past[^1]);
        }

        // The end of an answer may stand at the end of the state already, or be yet to come.
        ChatTurn turn = _format.Append(s_someTurn, next, s_options);
        int there = Enumerable.Range(0, Math.Min(past.Length, turn.Ids.Length)).Last(count => past.AsSpan(past.Length - count).SequenceEqual(turn.Ids.AsSpan(0, count)));
        return turn with { Ids = turn.Ids[there..], Report = null };
    }

    private void Show(string text)
    {
        if (!_output.Json)
        {
            _output.Write(text);
        }
    }

    private void Tell(Continuation answer, string? otherwise)
    {
        if (otherwise is not null)
        {
            _output.Note(otherwise);
        }

        if (answer.FinishReason == FinishReason.Cancelled)
        {
            _output.Note("Stopped; the conversation goes on from here. Ctrl-C again ends it.");
        }
        else if (answer.FinishReason == FinishReason.Length)
        {
            _output.Note($"The answer was cut off after {answer.Ids.Length} tokens: --max-new-tokens, or the model's context of {_llama.Config.MaxPositionEmbeddings}, is its limit.");
        }

        (Usage usage, Timings timings) = (answer.Report.Usage, answer.Report.Timings);
        _output.Detail($"{usage.ReusedTokens} tokens reused, {usage.ComputedTokens} read in {timings.PrefillSeconds:F2} s, {usage.GeneratedTokens} new ones at {timings.TokensPerSecond:F1} a second");
    }
}

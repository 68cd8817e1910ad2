using PrefixTorch.Caching;

namespace PrefixTorch.Generation;

/// <summary>What became of a prompt: new tokens, their text, and the state after them, which is a value like any other.</summary>
/// <remarks>Owns <see cref="Cache"/>; the caller disposes the continuation, or the cache.</remarks>
public sealed class Continuation : IDisposable
{
    internal Continuation(KvCache cache, int[] promptIds, IReadOnlyList<Token> tokens, string text, FinishReason finishReason, GenerationReport report)
    {
        Cache = cache;
        PromptIds = promptIds;
        Tokens = tokens;
        Ids = [.. tokens.Select(token => token.Id)];
        Text = text;
        FinishReason = finishReason;
        Report = report;
    }

    /// <summary>The state after prompt and new tokens; exactly those ids, or, where it was cancelled while the prompt was read, the first of them.</summary>
    public KvCache Cache { get; }

    /// <summary>The prompt's ids, prefix and suffix together.</summary>
    public int[] PromptIds { get; }

    /// <summary>The new ids, the end token included where there is one.</summary>
    public int[] Ids { get; }

    /// <summary>The new tokens.</summary>
    public IReadOnlyList<Token> Tokens { get; }

    /// <summary>
    /// Their text behind the prompt's, without a stop text that ended it. Where it ends within a character, that is U+FFFD, and the text of what goes on
    /// from <see cref="Cache"/> has the whole character.
    /// </summary>
    public string Text { get; }

    /// <summary>Why it ended.</summary>
    public FinishReason FinishReason { get; }

    /// <summary>What it took, and what it reused.</summary>
    public GenerationReport Report { get; }

    /// <summary>Disposes <see cref="Cache"/>.</summary>
    public void Dispose() => Cache.Dispose();
}

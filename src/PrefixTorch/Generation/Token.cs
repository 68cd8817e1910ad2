using PrefixTorch.Sampling;

namespace PrefixTorch.Generation;

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>As many tokens as asked for, or the model's context is full.</summary>
    Length,

    /// <summary>A stop text.</summary>
    Stop,

    /// <summary>An end token.</summary>
    Eos,

    /// <summary>Cancelled.</summary>
    Cancelled,
}

/// <summary>A generated token.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Text">
/// The text that became certain with it: never half a character, nothing that may yet turn out to be a stop text. May be empty, or span several tokens,
/// also the prompt's last ones where those are half a character; all together they are the continuation's text, but for what was held back where it was cancelled. U+FFFD is what a generation that ends within a character ends with.
/// </param>
/// <param name="LogProb">Its log-probability in the model's own distribution.</param>
public readonly record struct Token(int Id, string Text, float LogProb)
{
    /// <summary>The most likely tokens at this place, where they were asked for, best first.</summary>
    public IReadOnlyList<SampledToken>? TopLogProbs { get; init; }

    /// <summary>Set on the last token.</summary>
    public FinishReason? FinishReason { get; init; }

    /// <summary>What it took: set on the last token.</summary>
    public GenerationReport? Report { get; init; }
}

/// <summary>Tokens of one call, by what became of them.</summary>
/// <param name="PromptTokens">Prefix and suffix together.</param>
/// <param name="ReusedTokens">Prompt tokens whose keys and values were there already.</param>
/// <param name="ComputedTokens">Prompt tokens that were read in this call.</param>
/// <param name="GeneratedTokens">New tokens.</param>
public sealed record Usage(int PromptTokens, int ReusedTokens, int ComputedTokens, int GeneratedTokens);

/// <summary>Seconds of one call.</summary>
/// <param name="PrefillSeconds">Until the prompt was read.</param>
/// <param name="DecodeSeconds">From there to the last token.</param>
/// <param name="TimeToFirstTokenSeconds">From the call to the first token.</param>
public sealed record Timings(double PrefillSeconds, double DecodeSeconds, double TimeToFirstTokenSeconds)
{
    /// <summary>Tokens read in the prefill, per second.</summary>
    public double PrefillTokensPerSecond { get; init; }

    /// <summary>Tokens decoded per second: those after the first.</summary>
    public double TokensPerSecond { get; init; }
}

/// <summary>What a call took, and what it reused.</summary>
/// <param name="Usage">Tokens reused, computed and generated.</param>
/// <param name="Timings">Seconds.</param>
/// <param name="Reuse">Why not everything that was there could be reused, if so.</param>
/// <param name="Seed">The seed of the draws; null where nothing was drawn.</param>
public sealed record GenerationReport(Usage Usage, Timings Timings, string? Reuse, ulong? Seed)
{
    /// <summary>Bytes of keys and values that were there already and are referred to, not copied.</summary>
    public long SharedBytes { get; init; }
}

/// <summary>How far a prompt has been read.</summary>
/// <param name="Done">Tokens read, those reused included.</param>
/// <param name="Total">Tokens of the prompt.</param>
public readonly record struct PrefillProgress(int Done, int Total);

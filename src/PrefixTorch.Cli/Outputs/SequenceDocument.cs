using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Outputs;

/// <summary>What <c>generate</c>, <c>continue</c> and <c>branch</c> write with <c>--json</c>.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Sequences">In the order of the suffixes, then of the samples.</param>
internal sealed record GenerationDocument(string Model, IReadOnlyList<SequenceDocument> Sequences);

/// <summary>One sequence of it.</summary>
internal sealed record SequenceDocument(
    int Index,
    string? Suffix,
    int[] PromptIds,
    int[] Ids,
    string Text,
    string FinishReason,
    double? Score,
    IReadOnlyList<LogProbDocument>? Logprobs,
    Usage Usage,
    Timings Timings,
    string? Reuse,
    ulong? Seed)
{
    /// <summary>Describes a continuation.</summary>
    /// <param name="index">Its place among the results.</param>
    /// <param name="suffix">The text that was continued; null where it was given as ids.</param>
    /// <param name="continuation">What became of it.</param>
    /// <param name="report">What it took.</param>
    /// <param name="logProbs">Whether log-probabilities were asked for.</param>
    public static SequenceDocument Of(int index, string? suffix, Continuation continuation, GenerationReport report, bool logProbs) => new(
        index,
        suffix,
        continuation.PromptIds,
        continuation.Ids,
        continuation.Text,
        continuation.FinishReason.ToString().ToLowerInvariant(),
        Score: null,
        logProbs ? [.. continuation.Tokens.Select(LogProbDocument.Of)] : null,
        report.Usage,
        report.Timings,
        report.Reuse,
        report.Seed);
}

/// <summary>A new token's log-probability, and those of the best at its place, under the model's own distribution.</summary>
internal sealed record LogProbDocument(int Id, float Logprob, IReadOnlyList<BestDocument> Top)
{
    public static LogProbDocument Of(Token token) => new(token.Id, token.LogProb, [.. (token.TopLogProbs ?? []).Select(best => new BestDocument(best.Id, best.LogProb))]);
}

/// <summary>One of the most likely tokens at a place.</summary>
internal sealed record BestDocument(int Id, float Logprob);

namespace PrefixTorch.Sampling.Processors;

/// <summary>
/// Keeps the most likely of the 100 best tokens while they hold no more than a share of those tokens' entropy, and never less
/// than one (Top-H decoding, 2025).
/// </summary>
public sealed class TopHLogitsWarper(float topH) : LogitsProcessor
{
    private const int Considered = 100;

    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        ReadOnlySpan<ulong> top = TopSelection.Take(scores, Considered, context.Scratch);
        if (top.IsEmpty)
        {
            return;
        }

        Span<float> best = stackalloc float[top.Length];
        for (int i = 0; i < top.Length; i++)
        {
            best[i] = TopSelection.Score(top[i]);
        }

        double logSumExp = Scores.LogSumExp(best, best[0]);
        double allowed = topH * Entropy.Of(best, logSumExp);
        double held = Entropy.Share(best[0], logSumExp);
        int kept = 1;
        while (kept < best.Length && (held += Entropy.Share(best[kept], logSumExp)) <= allowed)
        {
            kept++;
        }

        scores.Fill(float.NegativeInfinity);
        foreach (ulong key in top[..kept])
        {
            scores[TopSelection.Id(key)] = TopSelection.Score(key);
        }
    }
}

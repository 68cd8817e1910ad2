namespace PrefixTorch.Sampling.Processors;

/// <summary>Keeps tokens at least epsilon likely; where none is, the most likely ones.</summary>
public sealed class EpsilonLogitsWarper(float epsilon) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        float max = Scores.Max(scores);
        CutBelow(scores, max, Scores.LogSumExp(scores, max), Math.Log(epsilon));
    }

    internal static void CutBelow(Span<float> scores, float max, double logSumExp, double logCutoff) =>
        Scores.CutBelow(scores, MathF.Min(max, (float)(logCutoff + logSumExp)));
}

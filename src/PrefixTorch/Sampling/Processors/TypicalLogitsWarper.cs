namespace PrefixTorch.Sampling.Processors;

/// <summary>
/// Keeps the tokens whose surprise is closest to the expected one (the entropy), until they hold a mass. Even the most likely
/// token may go (Meister et al., "Locally typical sampling", 2022).
/// </summary>
public sealed class TypicalLogitsWarper(float mass) : LogitsProcessor
{
    private const int FirstLook = 256;

    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        double logSumExp = Scores.LogSumExp(scores, Scores.Max(scores));
        double entropy = Entropy.Of(scores, logSumExp);
        Span<float> closeness = context.Scratch.Floats(scores.Length);
        for (int id = 0; id < scores.Length; id++)
        {
            closeness[id] = float.IsNegativeInfinity(scores[id]) ? float.NegativeInfinity : (float)-Math.Abs(logSumExp - scores[id] - entropy);
        }

        float least = LeastCloseness(scores, closeness, logSumExp, context.Scratch);
        for (int id = 0; id < scores.Length; id++)
        {
            if (closeness[id] < least)
            {
                scores[id] = float.NegativeInfinity;
            }
        }
    }

    private float LeastCloseness(ReadOnlySpan<float> scores, ReadOnlySpan<float> closeness, double logSumExp, SamplingScratch scratch)
    {
        for (int look = FirstLook; ; look *= 16)
        {
            ReadOnlySpan<ulong> closest = TopSelection.Take(closeness, look, scratch);
            double held = 0;
            foreach (ulong key in closest)
            {
                held += Math.Exp(scores[TopSelection.Id(key)] - logSumExp);
                if (held >= mass)
                {
                    return TopSelection.Score(key);
                }
            }

            if (closest.Length < look)
            {
                return float.NegativeInfinity;
            }
        }
    }
}

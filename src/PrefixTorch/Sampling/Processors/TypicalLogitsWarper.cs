namespace PrefixTorch.Sampling.Processors;

/// <summary>
/// Keeps the tokens whose surprise is closest to the expected one (the entropy), until they hold a mass. Even the most likely
/// token may go (Meister et al., "Locally typical sampling", 2022).
/// </summary>
public sealed class TypicalLogitsWarper(float mass) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        float max = Scores.Max(scores);
        if (float.IsNegativeInfinity(max))
        {
            return;
        }

        Span<float> weights = context.Scratch.Floats(scores.Length), closeness = context.Scratch.Ranks(scores.Length);
        double total = Scores.Exponentials(scores, max, weights, context.Scratch.Sums(Scores.BlockCount(scores.Length)));
        double logSumExp = max + Math.Log(total), entropy = Entropy.Of(scores, logSumExp);
        for (int id = 0; id < scores.Length; id++)
        {
            closeness[id] = (float)-Math.Abs(logSumExp - scores[id] - entropy);
        }

        float best = Scores.Max(closeness);

        // Not needed is what is very unlikely; the most likely token may be far from the entropy too.
        double unlikely = max + TopPLogitsWarper.LeastNeeded(mass, total, scores.Length);
        float least = (float)-Math.Max(logSumExp - unlikely - entropy, entropy - (logSumExp - max)) - 1;
        if (MassSelection.Last(closeness, weights, best, least, mass * total, context.Scratch) is ulong last)
        {
            float kept = TopSelection.Score(last);
            for (int id = 0; id < scores.Length; id++)
            {
                scores[id] = closeness[id] < kept ? float.NegativeInfinity : scores[id];
            }
        }
    }
}

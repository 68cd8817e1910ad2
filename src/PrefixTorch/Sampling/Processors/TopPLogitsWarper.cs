namespace PrefixTorch.Sampling.Processors;

/// <summary>Keeps the fewest most likely tokens whose probabilities sum to at least p, and never less than one.</summary>
public sealed class TopPLogitsWarper(float topP) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        float max = Scores.Max(scores);
        if (float.IsNegativeInfinity(max))
        {
            return;
        }

        Span<float> weights = context.Scratch.Floats(scores.Length);
        double total = Scores.Exponentials(scores, max, weights, context.Scratch.Sums(Scores.BlockCount(scores.Length)));
        if (MassSelection.Last(scores, weights, max, max + LeastNeeded(topP, total, scores.Length), topP * total, context.Scratch) is ulong last)
        {
            KeepDownTo(scores, TopSelection.Score(last), TopSelection.Id(last));
        }
    }

    /// <summary>
    /// The logarithm of a weight so small that all tokens below it together hold less than what is left over; with room for rounding.
    /// </summary>
    internal static float LeastNeeded(float mass, double total, int count) => (float)Math.Log(Math.Max(1 - (double)mass, 1e-9) / 2 * total / count);

    // Among tokens that tie with the last one kept, the lower ids stay.
    private static void KeepDownTo(Span<float> scores, float least, int lastId)
    {
        Scores.CutBelow(scores, least);
        for (Span<float> rest = scores[(lastId + 1)..]; rest.IndexOf(least) is >= 0 and int tie; rest = rest[(tie + 1)..])
        {
            rest[tie] = float.NegativeInfinity;
        }
    }
}

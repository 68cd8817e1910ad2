namespace PrefixTorch.Sampling.Processors;

/// <summary>Keeps the fewest most likely tokens whose probabilities sum to at least p, and never less than one.</summary>
public sealed class TopPLogitsWarper(float topP) : LogitsProcessor
{
    // A few tokens usually hold the mass: the whole row is sorted only where they do not.
    private const int FirstLook = 256;

    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        float max = Scores.Max(scores);
        double wanted = topP * Scores.SumExp(scores, max);
        for (int look = FirstLook; ; look *= 16)
        {
            ReadOnlySpan<ulong> top = TopSelection.Take(scores, look, context.Scratch);
            double mass = 0;
            int kept = 0;
            while (kept < top.Length && (kept == 0 || mass < wanted))
            {
                mass += Math.Exp(TopSelection.Score(top[kept++]) - max);
            }

            if (mass >= wanted)
            {
                KeepOnly(scores, top[..kept]);
                return;
            }

            if (top.Length < look)
            {
                return;
            }
        }
    }

    // Among tokens that tie with the last one kept, the lower ids stay.
    private static void KeepOnly(Span<float> scores, ReadOnlySpan<ulong> kept)
    {
        float least = TopSelection.Score(kept[^1]);
        int lastId = TopSelection.Id(kept[^1]);
        Scores.CutBelow(scores, least);
        for (Span<float> rest = scores[(lastId + 1)..]; rest.IndexOf(least) is >= 0 and int tie; rest = rest[(tie + 1)..])
        {
            rest[tie] = float.NegativeInfinity;
        }
    }
}

namespace PrefixTorch.Sampling.Processors;

/// <summary>Keeps the k highest scores, and what ties with the last of them.</summary>
public sealed class TopKLogitsWarper(int topK) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        ReadOnlySpan<ulong> top = TopSelection.Take(scores, topK, context.Scratch);
        if (top.Length == topK)
        {
            Scores.CutBelow(scores, TopSelection.Score(top[^1]));
        }
    }
}

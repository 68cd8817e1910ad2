namespace PrefixTorch.Sampling.Processors;

/// <summary>Keeps the k highest scores, and what ties with the last of them.</summary>
public sealed class TopKLogitsWarper(int topK) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        if (TopSelection.Last(scores, topK, context.Scratch) is float least)
        {
            Scores.CutBelow(scores, least);
        }
    }
}

namespace PrefixTorch.Sampling.Processors;

/// <summary>Forbids every token that would complete a run of n tokens that occurred before, in prompt or result.</summary>
public sealed class NoRepeatNGramLogitsProcessor(int ngramSize) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        ReadOnlySpan<int> ids = context.Ids;
        if (ids.Length < ngramSize)
        {
            return;
        }

        // The run's beginning is what the sequence ends with now; wherever it stood before, the token after it is forbidden.
        ReadOnlySpan<int> beginning = ids[(ids.Length - ngramSize + 1)..];
        for (int start = 0; start <= ids.Length - ngramSize; start++)
        {
            if (ids.Slice(start, beginning.Length).SequenceEqual(beginning))
            {
                Forbid(scores, ids[start + beginning.Length]);
            }
        }
    }
}

namespace PrefixTorch.Sampling.Processors;

/// <summary>
/// Makes every token that occurs in prompt or result less likely (penalty above 1) or more (below 1), however often it occurs:
/// positive scores are divided, negative ones multiplied.
/// </summary>
public sealed class RepetitionPenaltyLogitsProcessor(float penalty) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        Span<int> seen = context.Scratch.Counts(scores.Length);
        foreach (int id in context.Ids)
        {
            if (seen[InVocabulary(scores, id)]++ == 0)
            {
                scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
            }
        }

        foreach (int id in context.Ids)
        {
            seen[id] = 0;
        }
    }
}

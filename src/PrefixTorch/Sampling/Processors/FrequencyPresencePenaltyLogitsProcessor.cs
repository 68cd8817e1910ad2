namespace PrefixTorch.Sampling.Processors;

/// <summary>OpenAI's two penalties: one for every time that a token was generated, one for having been generated at all.</summary>
public sealed class FrequencyPresencePenaltyLogitsProcessor(float frequencyPenalty, float presencePenalty) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        Span<int> counts = context.Scratch.Counts(scores.Length);
        foreach (int id in context.GeneratedIds)
        {
            counts[InVocabulary(scores, id)]++;
        }

        foreach (int id in context.GeneratedIds)
        {
            if (counts[id] > 0)
            {
                scores[id] -= (counts[id] * frequencyPenalty) + presencePenalty;
                counts[id] = 0;
            }
        }
    }
}

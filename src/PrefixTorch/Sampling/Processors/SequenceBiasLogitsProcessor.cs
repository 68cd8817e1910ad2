namespace PrefixTorch.Sampling.Processors;

/// <summary>Adds a number to the score of a sequence's last token where the tokens before it are already there.</summary>
public sealed class SequenceBiasLogitsProcessor(IReadOnlyList<SequenceBias> biases) : LogitsProcessor
{
    private readonly (int[] Ids, float Bias)[] _biases = [.. biases.Select(bias => (bias.Ids.ToArray(), bias.Bias))];

    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        foreach ((int[] ids, float bias) in _biases)
        {
            if (context.Ids.EndsWith(ids.AsSpan(..^1)))
            {
                scores[InVocabulary(scores, ids[^1])] += bias;
            }
        }
    }
}

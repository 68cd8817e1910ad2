namespace PrefixTorch.Sampling.Processors;

/// <summary>Forbids the last token of each given sequence where the tokens before it are already there. End tokens alone stay allowed.</summary>
public sealed class NoBadWordsLogitsProcessor(IReadOnlyList<IReadOnlyList<int>> badWordsIds, IReadOnlyList<int> eosTokenIds) : LogitsProcessor
{
    private readonly int[][] _words = [.. badWordsIds.Where(word => word.Count > 1 || !eosTokenIds.Contains(word[0])).Select(word => word.ToArray())];

    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        foreach (int[] word in _words)
        {
            if (context.Ids.EndsWith(word.AsSpan(..^1)))
            {
                Forbid(scores, word[^1]);
            }
        }
    }
}

namespace PrefixTorch.Sampling.Processors;

/// <summary>Forbids the end tokens until enough new tokens are there.</summary>
public sealed class MinNewTokensLengthLogitsProcessor(int minNewTokens, IReadOnlyList<int> eosTokenIds) : LogitsProcessor
{
    private readonly int[] _eosTokenIds = [.. eosTokenIds];

    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        if (context.GeneratedIds.Length >= minNewTokens)
        {
            return;
        }

        foreach (int id in _eosTokenIds)
        {
            Forbid(scores, id);
        }
    }
}

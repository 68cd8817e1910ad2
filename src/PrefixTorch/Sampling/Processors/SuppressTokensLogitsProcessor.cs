namespace PrefixTorch.Sampling.Processors;

/// <summary>Forbids the given ids.</summary>
public sealed class SuppressTokensLogitsProcessor(IReadOnlyList<int> suppressTokens) : LogitsProcessor
{
    private readonly int[] _ids = [.. suppressTokens];

    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        foreach (int id in _ids)
        {
            Forbid(scores, id);
        }
    }
}

using PrefixTorch.Sampling;

namespace PrefixTorch.Tests.Generation;

/// <summary>Leaves the sampler no choice: these ids, one after another, counted from where the run began.</summary>
internal sealed class Forced(IReadOnlyList<int> ids) : LogitsProcessor
{
    public override void Process(Span<float> scores, LogitsContext context)
    {
        int id = ids[context.GeneratedIds.Length];
        scores.Fill(float.NegativeInfinity);
        scores[id] = 0;
    }
}

namespace PrefixTorch.Sampling.Processors;

/// <summary>Keeps tokens at least a fraction as likely as the most likely one.</summary>
public sealed class MinPLogitsWarper(float minP) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context) => Scores.CutBelow(scores, Scores.Max(scores) + MathF.Log(minP));
}

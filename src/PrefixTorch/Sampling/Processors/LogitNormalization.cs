namespace PrefixTorch.Sampling.Processors;

/// <summary>Turns scores into log-probabilities.</summary>
public sealed class LogitNormalization : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context) => Scores.Subtract(scores, Scores.LogSumExp(scores, Scores.Max(scores)));
}

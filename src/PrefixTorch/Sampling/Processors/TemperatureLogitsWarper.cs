namespace PrefixTorch.Sampling.Processors;

/// <summary>Divides the scores by a temperature.</summary>
public sealed class TemperatureLogitsWarper(float temperature) : LogitsProcessor
{
    // Below this a quotient may overflow; taking the best score off first changes no probability and keeps the best at zero.
    private const float Tiny = 1e-6f;

    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        if (temperature < Tiny)
        {
            Scores.Subtract(scores, Scores.Max(scores));
        }

        Scores.Divide(scores, temperature);
    }
}

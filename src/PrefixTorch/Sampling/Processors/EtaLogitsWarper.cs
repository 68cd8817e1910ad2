namespace PrefixTorch.Sampling.Processors;

/// <summary>
/// Epsilon's cut, lowered where the distribution is flat: keeps tokens at least as likely as the smaller of epsilon and
/// <c>sqrt(epsilon) * exp(-entropy)</c> (Hewitt et al., "Truncation sampling as language model desmoothing", 2022).
/// </summary>
public sealed class EtaLogitsWarper(float epsilon) : LogitsProcessor
{
    /// <inheritdoc/>
    public override void Process(Span<float> scores, LogitsContext context)
    {
        float max = Scores.Max(scores);
        double logSumExp = Scores.LogSumExp(scores, max);
        double logEpsilon = Math.Log(epsilon);
        EpsilonLogitsWarper.CutBelow(scores, max, logSumExp, Math.Min(logEpsilon, (logEpsilon / 2) - Entropy.Of(scores, logSumExp)));
    }
}

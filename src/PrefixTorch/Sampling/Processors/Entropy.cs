namespace PrefixTorch.Sampling.Processors;

/// <summary>The entropy of a row of scores, in nats: the surprise to expect.</summary>
internal static class Entropy
{
    /// <summary>The entropy of the whole row.</summary>
    public static double Of(ReadOnlySpan<float> scores, double logSumExp)
    {
        double entropy = 0;
        foreach (float score in scores)
        {
            entropy += Share(score, logSumExp);
        }

        return entropy;
    }

    /// <summary>What one token adds to it; a forbidden one adds nothing.</summary>
    public static double Share(float score, double logSumExp)
    {
        double logProb = score - logSumExp;
        return float.IsNegativeInfinity(score) ? 0 : -logProb * Math.Exp(logProb);
    }
}

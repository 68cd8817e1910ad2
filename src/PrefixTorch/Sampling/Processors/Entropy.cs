using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Sampling.Processors;

/// <summary>The entropy of a row of scores, in nats: the surprise to expect.</summary>
internal static class Entropy
{
    /// <summary>The entropy of the whole row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Of(ReadOnlySpan<float> scores, double logSumExp)
    {
        Vector256<double> low = default, high = default;
        int i = 0;
        for (; i <= scores.Length - Vector256<float>.Count; i += Vector256<float>.Count)
        {
            (Vector256<double> a, Vector256<double> b) = Vector256.Widen(Vector256.Create(scores[i..]));
            low += Shares(a, logSumExp);
            high += Shares(b, logSumExp);
        }

        double entropy = Vector256.Sum(low + high);
        for (; i < scores.Length; i++)
        {
            entropy += Share(scores[i], logSumExp);
        }

        return entropy;
    }

    /// <summary>What one token adds to it; a forbidden one adds nothing.</summary>
    public static double Share(float score, double logSumExp)
    {
        double logProb = score - logSumExp;
        return float.IsNegativeInfinity(score) ? 0 : -logProb * Math.Exp(logProb);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<double> Shares(Vector256<double> scores, double logSumExp)
    {
        Vector256<double> logProbs = scores - Vector256.Create(logSumExp);
        Vector256<double> allowed = Vector256.GreaterThan(scores, Vector256.Create(double.NegativeInfinity));
        return -logProbs * Vector256.Exp(logProbs) & allowed;
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Sampling;

/// <summary>
/// Passes over one row of scores. All are eight lanes wide on every machine, and sum in double: the same row gives the same
/// bits, and so the same draw, whatever the width of the machine's vectors.
/// </summary>
/// <remarks>Optimized at first use: tiers are climbed slowly while all cores compute, and sixteen branches choose sixteen times a step.</remarks>
internal static class Scores
{
    /// <summary>How many scores share one partial sum of <see cref="Exponentials"/>.</summary>
    public const int BlockLength = 512;

    private const int Lanes = 8;

    /// <summary>The largest score; NaN where any score is NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Max(ReadOnlySpan<float> scores)
    {
        ref float first = ref MemoryMarshal.GetReference(scores);
        Vector256<float> largest = Vector256.Create(float.NegativeInfinity);
        int i = 0;
        for (; i <= scores.Length - Lanes; i += Lanes)
        {
            largest = Vector256.Max(largest, Load(ref first, i));
        }

        float max = float.NegativeInfinity;
        for (int lane = 0; lane < Lanes; lane++)
        {
            max = MathF.Max(max, largest[lane]);
        }

        for (; i < scores.Length; i++)
        {
            max = MathF.Max(max, scores[i]);
        }

        return max;
    }

    /// <summary>The lowest id with the largest score.</summary>
    public static int ArgMax(ReadOnlySpan<float> scores) => scores.IndexOf(Max(scores));

    /// <summary>The sum of <c>exp(score - max)</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double SumExp(ReadOnlySpan<float> scores, float max)
    {
        ref float first = ref MemoryMarshal.GetReference(scores);
        Vector256<float> shift = Vector256.Create(max);
        Vector256<double> low = default, high = default;
        int i = 0;
        for (; i <= scores.Length - Lanes; i += Lanes)
        {
            (Vector256<double> a, Vector256<double> b) = Vector256.Widen(Vector256.Exp(Load(ref first, i) - shift));
            low += a;
            high += b;
        }

        double sum = Vector256.Sum(low + high);
        for (; i < scores.Length; i++)
        {
            sum += MathF.Exp(scores[i] - max);
        }

        return sum;
    }

    /// <summary>The logarithm of the sum of the scores' exponentials: what turns a logit into a log-probability.</summary>
    public static double LogSumExp(ReadOnlySpan<float> scores, float max) => max + Math.Log(SumExp(scores, max));

    /// <summary>Writes <c>exp(score - max)</c>, and the sum of every block of <see cref="BlockLength"/>.</summary>
    /// <returns>The sum of all.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Exponentials(ReadOnlySpan<float> scores, float max, Span<float> exponentials, Span<double> sums)
    {
        ref float first = ref MemoryMarshal.GetReference(scores);
        ref float target = ref MemoryMarshal.GetReference(exponentials[..scores.Length]);
        Vector256<float> shift = Vector256.Create(max);
        double total = 0;
        for (int start = 0, block = 0; start < scores.Length; start += BlockLength, block++)
        {
            int end = Math.Min(start + BlockLength, scores.Length);
            Vector256<double> low = default, high = default;
            int i = start;
            for (; i <= end - Lanes; i += Lanes)
            {
                Vector256<float> exp = Vector256.Exp(Load(ref first, i) - shift);
                exp.StoreUnsafe(ref target, (nuint)i);
                (Vector256<double> a, Vector256<double> b) = Vector256.Widen(exp);
                low += a;
                high += b;
            }

            double sum = Vector256.Sum(low + high);
            for (; i < end; i++)
            {
                sum += exponentials[i] = MathF.Exp(scores[i] - max);
            }

            sums[block] = sum;
            total += sum;
        }

        return total;
    }

    /// <summary>The number of partial sums that <see cref="Exponentials"/> writes.</summary>
    public static int BlockCount(int length) => (length + BlockLength - 1) / BlockLength;

    /// <summary>Divides all scores.</summary>
    public static void Divide(Span<float> scores, float divisor)
    {
        ref float first = ref MemoryMarshal.GetReference(scores);
        Vector256<float> by = Vector256.Create(divisor);
        int i = 0;
        for (; i <= scores.Length - Lanes; i += Lanes)
        {
            (Load(ref first, i) / by).StoreUnsafe(ref first, (nuint)i);
        }

        for (; i < scores.Length; i++)
        {
            scores[i] /= divisor;
        }
    }

    /// <summary>Subtracts from all scores.</summary>
    public static void Subtract(Span<float> scores, double amount)
    {
        foreach (ref float score in scores)
        {
            score = (float)(score - amount);
        }
    }

    /// <summary>Forbids what scores less than <paramref name="least"/>.</summary>
    public static void CutBelow(Span<float> scores, float least)
    {
        ref float first = ref MemoryMarshal.GetReference(scores);
        Vector256<float> threshold = Vector256.Create(least);
        Vector256<float> never = Vector256.Create(float.NegativeInfinity);
        int i = 0;
        for (; i <= scores.Length - Lanes; i += Lanes)
        {
            Vector256<float> v = Load(ref first, i);
            Vector256.ConditionalSelect(Vector256.LessThan(v, threshold), never, v).StoreUnsafe(ref first, (nuint)i);
        }

        for (; i < scores.Length; i++)
        {
            scores[i] = scores[i] < least ? float.NegativeInfinity : scores[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Load(ref float first, int index) => Vector256.LoadUnsafe(ref first, (nuint)index);
}

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

    // Its exponential is the smallest ordinary number.
    private const float Smallest = -87.33654f;

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
            (Vector256<double> a, Vector256<double> b) = Vector256.Widen(Exp(Load(ref first, i) - shift));
            low += a;
            high += b;
        }

        double sum = Vector256.Sum(low + high);
        for (; i < scores.Length; i++)
        {
            sum += Exp(Vector256.Create(scores[i] - max))[0];
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
                Vector256<float> exp = Exp(Load(ref first, i) - shift);
                exp.StoreUnsafe(ref target, (nuint)i);
                (Vector256<double> a, Vector256<double> b) = Vector256.Widen(exp);
                low += a;
                high += b;
            }

            double sum = Vector256.Sum(low + high);
            for (; i < end; i++)
            {
                sum += exponentials[i] = Exp(Vector256.Create(scores[i] - max))[0];
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

    /// <summary>
    /// The exponentials of numbers that are not positive, to 1e-7 of each; zero where that would be no ordinary number. Products and sums are rounded
    /// apart, whatever the machine could do at once: the same bits everywhere.
    /// </summary>
    /// <remarks>Written out: what <see cref="Vector256"/> has is a call, which is slow until the runtime has found out that it matters.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> Exp(Vector256<float> x)
    {
        // x = n ln 2 + r with |r| at most half of ln 2, which is taken in two parts (Cody and Waite); then Cephes' polynomial for exp(r).
        Vector256<float> clamped = Vector256.Max(x, Vector256.Create(Smallest));
        Vector256<float> n = Vector256.Floor(clamped * Vector256.Create(1.44269504f) + Vector256.Create(0.5f));
        Vector256<float> r = clamped - n * Vector256.Create(0.693359375f) - n * Vector256.Create(-2.12194440e-4f);
        Vector256<float> sum = r * Vector256.Create(1.9875691500e-4f) + Vector256.Create(1.3981999507e-3f);
        sum = sum * r + Vector256.Create(8.3334519073e-3f);
        sum = sum * r + Vector256.Create(4.1665795894e-2f);
        sum = sum * r + Vector256.Create(1.6666665459e-1f);
        sum = sum * r + Vector256.Create(5.0000001201e-1f);
        sum = sum * r * r + r + Vector256<float>.One;
        Vector256<float> power = ((Vector256.ConvertToInt32Native(n) + Vector256.Create(127)) << 23).AsSingle();
        return Vector256.GreaterThan(x, Vector256.Create(Smallest)) & (sum * power);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Load(ref float first, int index) => Vector256.LoadUnsafe(ref first, (nuint)index);
}

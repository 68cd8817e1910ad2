using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>What rows of 8 bits are: integers of −127 … 127 and one scale that they are multiplied with.</summary>
/// <remarks>
/// The scale is a 127th of the row's largest magnitude, rounded to 17 bits: so its products with the integers are exact in fp32, and what was widened
/// to fp32 becomes the same integers and scale again.
/// </remarks>
internal static class Int8Rows
{
    /// <summary>What the largest magnitude becomes.</summary>
    public const float Largest = 127;

    /// <summary>Multiplying by 2⁷ + 1 and taking the difference away leaves 24 − 7 bits (Veltkamp 1968).</summary>
    public const float Rounding = 129;

    /// <summary>Below it a row is zero: the inverse would not be finite.</summary>
    public const float SmallestScale = 1.17549435e-38f;

    /// <summary>The largest number that a row can hold; more, and the rounding of its scale would overflow.</summary>
    public const float LargestNumber = 1e38f;

    /// <summary>The scale of a row: zero where nothing of it can be told from zero, not a number where 8 bits cannot hold it.</summary>
    public static float ScaleOf(float largestMagnitude)
    {
        float scale = largestMagnitude / Largest, shifted = scale * Rounding;
        scale = shifted - (shifted - scale);
        return !(largestMagnitude <= LargestNumber) ? float.NaN : scale < SmallestScale ? 0 : scale;
    }
}

/// <summary>Rows of fp32 numbers to 8 bits; see <see cref="Int8Rows"/>. Every width gives the same bits.</summary>
internal static unsafe class RowQuantizer<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>Quantizes one row and gives its scale. Where the row cannot be held, that is not a number, and so is all that the row is widened to.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Quantize(float* from, int count, sbyte* to)
    {
        float scale = Int8Rows.ScaleOf(LargestMagnitude(from, count));
        if (!(scale > 0))
        {
            new Span<sbyte>(to, count).Clear();
            return scale;
        }

        float inverse = 1 / scale;
        TVector inverses = TVectors.Broadcast(inverse);
        int i = 0;
        for (; i + TVectors.Width <= count; i += TVectors.Width)
        {
            TVectors.StoreInt8(TVectors.Multiply(TVectors.Load(from + i), inverses), to + i);
        }

        for (; i < count; i++)
        {
            Int8Element.Store(from[i] * inverse, (byte*)(to + i));
        }

        return scale;
    }

    // Not a number where one of them is none: a register's maximum may pass over it, its product with zero does not.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float LargestMagnitude(float* from, int count)
    {
        float max = 0;
        int i = 0;
        if (count >= TVectors.Width)
        {
            TVector zero = TVectors.Broadcast(0), largest = zero, strange = zero;
            for (; i + TVectors.Width <= count; i += TVectors.Width)
            {
                TVector number = TVectors.Load(from + i);
                largest = TVectors.Max(largest, TVectors.Max(number, TVectors.Subtract(zero, number)));
                strange = TVectors.MultiplyAdd(number, zero, strange);
            }

            float* lanes = stackalloc float[TVectors.Width];
            TVectors.Store(largest, lanes);
            for (int lane = 0; lane < TVectors.Width; lane++)
            {
                max = MathF.Max(max, lanes[lane]);
            }

            max += TVectors.Sum(strange);
        }

        for (; i < count; i++)
        {
            max = MathF.Max(max, MathF.Abs(from[i]));
        }

        return max;
    }
}

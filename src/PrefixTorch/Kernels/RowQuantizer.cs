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
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ScaleOf(float largestMagnitude)
    {
        float scale = largestMagnitude / Largest, shifted = scale * Rounding;
        scale = shifted - (shifted - scale);
        return !(largestMagnitude <= LargestNumber) ? float.NaN : scale < SmallestScale ? 0 : scale;
    }
}

/// <summary>What rounding to 8 bits did to some numbers: sums over all of them.</summary>
/// <param name="SquaredError">Of the squared error.</param>
/// <param name="Squares">Of their squares.</param>
internal readonly record struct RoundingError(double SquaredError, double Squares)
{
    /// <summary>The root mean square of the error, relative to that of the numbers.</summary>
    public double Relative => Squares == 0 ? 0 : Math.Sqrt(SquaredError / Squares);

    /// <summary>What it did to both.</summary>
    public static RoundingError operator +(RoundingError a, RoundingError b) => new(a.SquaredError + b.SquaredError, a.Squares + b.Squares);
}

/// <summary>Finds a largest magnitude.</summary>
internal static class Magnitude<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>
    /// Adds <paramref name="value"/> to what was seen: its magnitude, over which a register's maximum passes where it is not a number, and its product with
    /// zero, which is then none either.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Measure(TVector value, ref TVector largest, ref TVector strange)
    {
        TVector zero = TVectors.Broadcast(0);
        largest = TVectors.Max(largest, TVectors.Max(value, TVectors.Subtract(zero, value)));
        strange = TVectors.MultiplyAdd(value, zero, strange);
    }
}

/// <summary>Rows of floating-point numbers to 8 bits and back; see <see cref="Int8Rows"/>. Every width gives the same bits.</summary>
internal static unsafe class RowQuantizer<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    /// <summary>Quantizes rows that lie one after another. Where a row cannot be held, its scale is not a number.</summary>
    /// <returns>The rounding error.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static RoundingError QuantizeRows(byte* from, long rows, int width, sbyte* to, float* scales)
    {
        double squaredError = 0, squares = 0;
        for (long row = 0; row < rows; row++)
        {
            scales[row] = Measured(from, width, to, out float error, out float square);
            squaredError += error;
            squares += square;
            from += (long)width * TElement.Size;
            to += width;
        }

        return new RoundingError(squaredError, squares);
    }

    /// <summary>Widens rows that lie one after another.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void WidenRows(sbyte* from, float* scales, long rows, int width, byte* to)
    {
        for (long row = 0; row < rows; row++)
        {
            CodeWidening<TVectors, TVector>.Int8<TElement>(from, scales[row], width, to);
            to += (long)width * TElement.Size;
            from += width;
        }
    }

    /// <summary>Quantizes one row and gives its scale. Where the row cannot be held, that is not a number, and so is all that the row is widened to.</summary>
    public static float Quantize(byte* from, int count, sbyte* to) => Measured(from, count, to, out _, out _);

    // With the sums of the squared error and of the squares.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Measured(byte* from, int count, sbyte* to, out float squaredError, out float squares)
    {
        float scale = Int8Rows.ScaleOf(LargestMagnitude(from, count));
        float inverse = scale > 0 ? 1 / scale : 0;
        if (float.IsNaN(scale))
        {
            new Span<sbyte>(to, count).Clear();
            squaredError = squares = 0;
            return scale;
        }

        TVector inverses = TVectors.Broadcast(inverse), scales = TVectors.Broadcast(scale), whole = TVectors.Broadcast(WholeNumbers.Shift);
        TVector errors = TVectors.Broadcast(0), sums = errors;
        int i = 0;
        for (; i + TVectors.Width <= count; i += TVectors.Width)
        {
            TVector number = Load(from, i), code = TVectors.Multiply(number, inverses);
            TVectors.StoreInt8(code, to + i);
            TVector rounded = TVectors.Subtract(TVectors.Add(code, whole), whole);
            TVector off = TVectors.Subtract(number, TVectors.Multiply(rounded, scales));
            errors = TVectors.MultiplyAdd(off, off, errors);
            sums = TVectors.MultiplyAdd(number, number, sums);
        }

        squaredError = TVectors.Sum(errors);
        squares = TVectors.Sum(sums);
        for (; i < count; i++)
        {
            float number = TElement.Load(from + (long)i * TElement.Size);
            Int8Element.Store(number * inverse, (byte*)(to + i));
            float off = number - to[i] * scale;
            squaredError += off * off;
            squares += number * number;
        }

        return scale;
    }

    // Not a number where one of them is none.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float LargestMagnitude(byte* from, int count)
    {
        float max = 0;
        int i = 0;
        if (count >= TVectors.Width)
        {
            TVector zero = TVectors.Broadcast(0), largest = zero, strange = zero;
            for (; i + TVectors.Width <= count; i += TVectors.Width)
            {
                Magnitude<TVectors, TVector>.Measure(Load(from, i), ref largest, ref strange);
            }

            max = TVectors.Largest(largest) + TVectors.Sum(strange);
        }

        for (; i < count; i++)
        {
            max = MathF.Max(max, MathF.Abs(TElement.Load(from + (long)i * TElement.Size)));
        }

        return max;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Load(byte* from, int i) => TElement.Load<TVectors, TVector>(from + (long)i * TElement.Size);
}

using System.Numerics;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>
/// Keys and values in 8 bits: each row (one head of one token, D numbers) is a scale, its largest magnitude / 127, and D integers of −127 … 127.
/// </summary>
internal static unsafe class KvQuantizer
{
    private const int Largest = 127;

    /// <summary>A layer's keys or values in 8 bits.</summary>
    /// <param name="Numbers"><c>[KV, S, D]</c>.</param>
    /// <param name="Scales"><c>[KV, S]</c>.</param>
    /// <param name="SquaredError">Sum over all numbers of the squared error.</param>
    /// <param name="Squares">Sum over all numbers of their squares.</param>
    public sealed record Quantized(sbyte[] Numbers, float[] Scales, double SquaredError, double Squares);

    /// <summary>Quantizes rows of <paramref name="width"/> numbers.</summary>
    /// <exception cref="PrefixTorchException">A number is not finite.</exception>
    public static Quantized Quantize(ReadOnlySpan<float> numbers, int width)
    {
        var to = new sbyte[numbers.Length];
        var scales = new float[numbers.Length / width];
        double squaredError = 0, squares = 0;
        for (int row = 0; row < scales.Length; row++)
        {
            ReadOnlySpan<float> from = numbers.Slice(row * width, width);
            float max = LargestMagnitude(from);
            if (!float.IsFinite(max))
            {
                throw new PrefixTorchException($"The keys and values hold {max}, which 8 bits cannot; save the state without quantization, and look for what made it.");
            }

            scales[row] = max / Largest;
            (float error, float square) = Round(from, max, to.AsSpan(row * width, width));
            squaredError += error;
            squares += square;
        }

        return new Quantized(to, scales, squaredError, squares);
    }

    // Not a number where one of them is none.
    private static float LargestMagnitude(ReadOnlySpan<float> numbers)
    {
        float max = 0;
        int i = 0;
        if (numbers.Length >= Vector<float>.Count)
        {
            Vector<float> largest = Vector<float>.Zero;
            for (; i + Vector<float>.Count <= numbers.Length; i += Vector<float>.Count)
            {
                largest = Vector.Max(largest, Vector.Abs(new Vector<float>(numbers[i..])));
            }

            for (int lane = 0; lane < Vector<float>.Count; lane++)
            {
                max = MathF.Max(max, largest[lane]);
            }
        }

        for (; i < numbers.Length; i++)
        {
            max = MathF.Max(max, MathF.Abs(numbers[i]));
        }

        return max;
    }

    // The integers, and the sums of the squared error and of the squares.
    private static (float SquaredError, float Squares) Round(ReadOnlySpan<float> numbers, float max, Span<sbyte> to)
    {
        float scale = max / Largest, inverse = max == 0 ? 0 : Largest / max;
        Vector<float> errors = Vector<float>.Zero, squares = Vector<float>.Zero;
        int i = 0;
        for (; i + Vector<sbyte>.Count <= numbers.Length; i += Vector<sbyte>.Count)
        {
            Vector<int> a = Integers(numbers[i..]), b = Integers(numbers[(i + Vector<int>.Count)..]);
            Vector<int> c = Integers(numbers[(i + 2 * Vector<int>.Count)..]), d = Integers(numbers[(i + 3 * Vector<int>.Count)..]);
            Vector.Narrow(Vector.Narrow(a, b), Vector.Narrow(c, d)).CopyTo(to[i..]);
        }

        float error = Vector.Sum(errors), square = Vector.Sum(squares);
        for (; i < numbers.Length; i++)
        {
            to[i] = (sbyte)MathF.Round(numbers[i] * inverse);
            float off = numbers[i] - to[i] * scale;
            error += off * off;
            square += numbers[i] * numbers[i];
        }

        return (error, square);

        Vector<int> Integers(ReadOnlySpan<float> from)
        {
            var wide = new Vector<float>(from);
            Vector<float> rounded = Vector.Round(wide * inverse), off = wide - rounded * scale;
            errors += off * off;
            squares += wide * wide;
            return Vector.ConvertToInt32(rounded);
        }
    }

    /// <summary>Widens a layer's keys or values of a file into a buffer of as many tokens, in the buffer's dtype.</summary>
    public static void Widen(KvStatePart part, HostKvBuffer to, int layer, bool keys)
    {
        KvLayout layout = to.Layout;
        int width = layout.HeadDim, rows = layout.KeyValueHeads * to.Capacity;
        var numbers = (sbyte*)part.File.Pointer((keys ? part.Keys : part.Values)[layer]);
        var scales = (float*)part.File.Pointer((keys ? part.KeyScales : part.ValueScales)[layer]);
        byte* target = keys ? to.Keys(layer, 0, 0) : to.Values(layer, 0, 0);

        // As many rows at a time as stay in the first-level cache.
        int block = Math.Max(1, 4096 / width);
        var wide = new float[block * width];
        fixed (float* pointer = wide)
        {
            for (int first = 0; first < rows; first += block)
            {
                int count = Math.Min(block, rows - first);
                for (int row = 0; row < count; row++)
                {
                    Scale(new ReadOnlySpan<sbyte>(numbers + (long)(first + row) * width, width), scales[first + row], wide.AsSpan(row * width, width));
                }

                KernelSet.Current.Convert(DType.Float32, (byte*)pointer, layout.DType, target + (long)first * layout.RowBytes, (long)count * width);
            }
        }
    }

    private static void Scale(ReadOnlySpan<sbyte> integers, float scale, Span<float> to)
    {
        int i = 0;
        for (; i + Vector<sbyte>.Count <= integers.Length; i += Vector<sbyte>.Count)
        {
            Vector.Widen(new Vector<sbyte>(integers[i..]), out Vector<short> low, out Vector<short> high);
            Vector.Widen(low, out Vector<int> a, out Vector<int> b);
            Vector.Widen(high, out Vector<int> c, out Vector<int> d);
            (Vector.ConvertToSingle(a) * scale).CopyTo(to[i..]);
            (Vector.ConvertToSingle(b) * scale).CopyTo(to[(i + Vector<int>.Count)..]);
            (Vector.ConvertToSingle(c) * scale).CopyTo(to[(i + 2 * Vector<int>.Count)..]);
            (Vector.ConvertToSingle(d) * scale).CopyTo(to[(i + 3 * Vector<int>.Count)..]);
        }

        for (; i < integers.Length; i++)
        {
            to[i] = integers[i] * scale;
        }
    }
}

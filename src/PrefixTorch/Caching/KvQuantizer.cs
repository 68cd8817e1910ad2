using System.Numerics;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>Keys and values in 8 bits for a state file, with the error that it makes: the rows of an 8-bit cache (<see cref="Int8Rows"/>), of one that is wider.</summary>
internal static unsafe class KvQuantizer
{
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
        var codes = new sbyte[numbers.Length];
        var scales = new float[numbers.Length / width];
        var wide = new float[width];
        double squaredError = 0, squares = 0;
        KernelSet kernels = KernelSet.Current;
        fixed (float* from = numbers, back = wide)
        fixed (sbyte* to = codes)
        {
            for (int row = 0; row < scales.Length; row++)
            {
                long at = (long)row * width;
                scales[row] = kernels.QuantizeInt8(from + at, width, to + at);
                if (float.IsNaN(scales[row]))
                {
                    float strange = numbers.Slice(row * width, width).ToArray().First(number => !(MathF.Abs(number) <= Int8Rows.LargestNumber));
                    throw new PrefixTorchException($"The keys and values hold {strange}, which 8 bits cannot; save the state without quantization, and look for what made it.");
                }

                kernels.WidenInt8(to + at, scales[row], width, DType.Float32, (byte*)back);
                (float error, float square) = Measure(numbers.Slice(row * width, width), wide);
                squaredError += error;
                squares += square;
            }
        }

        return new Quantized(codes, scales, squaredError, squares);
    }

    // The sums of the squared error and of the squares.
    private static (float SquaredError, float Squares) Measure(ReadOnlySpan<float> exact, ReadOnlySpan<float> rounded)
    {
        Vector<float> errors = Vector<float>.Zero, squares = Vector<float>.Zero;
        int i = 0;
        for (; i + Vector<float>.Count <= exact.Length; i += Vector<float>.Count)
        {
            var number = new Vector<float>(exact[i..]);
            Vector<float> off = number - new Vector<float>(rounded[i..]);
            errors += off * off;
            squares += number * number;
        }

        float error = Vector.Sum(errors), square = Vector.Sum(squares);
        for (; i < exact.Length; i++)
        {
            float off = exact[i] - rounded[i];
            error += off * off;
            square += exact[i] * exact[i];
        }

        return (error, square);
    }
}

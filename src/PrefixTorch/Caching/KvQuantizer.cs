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
            float max = 0;
            foreach (float number in from)
            {
                // Not Math.Max alone: what is not a number must be seen.
                max = float.IsFinite(number) ? Math.Max(max, MathF.Abs(number)) : float.NaN;
                if (float.IsNaN(max))
                {
                    throw new PrefixTorchException($"The keys and values hold {number}, which 8 bits cannot; save the state without quantization, and look for what made it.");
                }
            }

            float scale = max / Largest, inverse = max == 0 ? 0 : Largest / max, error = 0, square = 0;
            scales[row] = scale;
            Span<sbyte> integers = to.AsSpan(row * width, width);
            for (int i = 0; i < width; i++)
            {
                int integer = Math.Clamp((int)MathF.Round(from[i] * inverse), -Largest, Largest);
                integers[i] = (sbyte)integer;
                float off = from[i] - integer * scale;
                error += off * off;
                square += from[i] * from[i];
            }

            squaredError += error;
            squares += square;
        }

        return new Quantized(to, scales, squaredError, squares);
    }

    /// <summary>Widens a layer's keys or values of a file into a buffer of as many tokens, in the buffer's dtype.</summary>
    public static void Widen(KvStatePart part, HostKvBuffer to, int layer, bool keys)
    {
        KvLayout layout = to.Layout;
        int width = layout.HeadDim, rows = layout.KeyValueHeads * to.Capacity;
        var numbers = (sbyte*)part.File.Pointer((keys ? part.Keys : part.Values)[layer]);
        var scales = (float*)part.File.Pointer((keys ? part.KeyScales : part.ValueScales)[layer]);
        byte* target = keys ? to.Keys(layer, 0, 0) : to.Values(layer, 0, 0);
        var wide = new float[width];
        fixed (float* pointer = wide)
        {
            for (int row = 0; row < rows; row++)
            {
                for (int i = 0; i < width; i++)
                {
                    pointer[i] = numbers[(long)row * width + i] * scales[row];
                }

                KernelSet.Current.Convert(DType.Float32, (byte*)pointer, layout.DType, target + (long)row * layout.RowBytes, width);
            }
        }
    }
}

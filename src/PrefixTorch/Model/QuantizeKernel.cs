using PrefixTorch.Kernels;

namespace PrefixTorch.Model;

/// <summary>From floats to codes, a row at a time.</summary>
internal static unsafe class QuantizeKernel
{
    // How much of a group's range is tried: cutting an outlier off can serve the other weights.
    private static readonly float[] s_shares = [1f, 0.95f, 0.9f, 0.85f, 0.8f];

    /// <summary>Signed bytes with one scale: the largest magnitude becomes 127.</summary>
    public static float Int8(ReadOnlySpan<float> row, sbyte* codes)
    {
        float largest = 0;
        foreach (float value in row)
        {
            largest = MathF.Max(largest, MathF.Abs(value));
        }

        float scale = largest / 127;
        for (int i = 0; i < row.Length; i++)
        {
            codes[i] = scale == 0 ? (sbyte)0 : (sbyte)Math.Clamp(MathF.Round(row[i] / scale), -127, 127);
        }

        return scale;
    }

    /// <summary>
    /// Four bits with a scale and a minimum for each group, both rounded to bf16 before the codes are chosen, so that their rounding is made up
    /// for. Of a few ranges around the group's middle the one with the smallest squared error is taken.
    /// </summary>
    public static void Int4(ReadOnlySpan<float> row, byte* codes, uint* numbers)
    {
        for (int g = 0; g < row.Length / Int4Format.Group; g++)
        {
            numbers[g] = Group(row.Slice(g * Int4Format.Group, Int4Format.Group), codes + g * Int4Format.GroupBytes);
        }
    }

    private static uint Group(ReadOnlySpan<float> weights, byte* codes)
    {
        float low = float.PositiveInfinity, high = float.NegativeInfinity;
        foreach (float weight in weights)
        {
            low = MathF.Min(low, weight);
            high = MathF.Max(high, weight);
        }

        float middle = (low + high) / 2, half = (high - low) / 2;
        float bestError = float.PositiveInfinity, bestScale = 0, bestMinimum = 0;
        foreach (float share in s_shares)
        {
            float scale = Rounded(2 * half * share / 15), minimum = Rounded(middle - half * share);
            float error = 0;
            foreach (float weight in weights)
            {
                float distance = weight - (Code(weight, scale, minimum) * scale + minimum);
                error += distance * distance;
            }

            if (error < bestError)
            {
                (bestError, bestScale, bestMinimum) = (error, scale, minimum);
            }
        }

        for (int i = 0; i < Int4Format.GroupBytes; i++)
        {
            codes[i] = (byte)(Code(weights[i], bestScale, bestMinimum) | (Code(weights[i + Int4Format.GroupBytes], bestScale, bestMinimum) << 4));
        }

        return (BitConverter.SingleToUInt32Bits(bestScale) >> 16) | BitConverter.SingleToUInt32Bits(bestMinimum);
    }

    private static int Code(float weight, float scale, float minimum) =>
        scale == 0 ? 0 : (int)Math.Clamp(MathF.Round((weight - minimum) / scale), 0, 15);

    private static float Rounded(float value)
    {
        ushort bits;
        BFloat16Element.Store(value, (byte*)&bits);
        return BFloat16Element.Load((byte*)&bits);
    }
}

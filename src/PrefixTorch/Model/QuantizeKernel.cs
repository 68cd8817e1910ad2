using PrefixTorch.Kernels;

namespace PrefixTorch.Model;

/// <summary>From floats to codes, a row at a time.</summary>
internal static unsafe class QuantizeKernel
{
    // What the largest magnitude becomes: −8 is the far end, and cutting it off a little can serve the other weights.
    private static readonly float[] s_ends = [-8f, -7.5f, -7f, -8.5f, -9f, 7f, 7.5f, 8f];

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
    /// Four bits with one scale for each group, rounded to bf16 before the codes are chosen, so that its rounding is made up for. Of a few scales
    /// the one with the smallest squared error is taken. <paramref name="codes"/> and <paramref name="scales"/> are cleared by the caller: padding stays zero.
    /// </summary>
    public static void Int4(ReadOnlySpan<float> row, byte* codes, ushort* scales)
    {
        for (int start = 0; start < row.Length; start += CodeFormat.Group)
        {
            ReadOnlySpan<float> group = row.Slice(start, Math.Min(CodeFormat.Group, row.Length - start));
            float scale = BestScale(group);
            BFloat16Element.Store(scale, (byte*)(scales + start / CodeFormat.Group));
            var words = (uint*)(codes + start / CodeFormat.Block * CodeFormat.Int4BlockBytes);
            for (int i = 0; i < group.Length; i++)
            {
                (int word, int shift) = CodeFormat.Int4Place((start + i) % CodeFormat.Block);
                words[word] |= (uint)Code(group[i], scale) << shift;
            }
        }
    }

    private static float BestScale(ReadOnlySpan<float> weights)
    {
        float largest = 0;
        foreach (float weight in weights)
        {
            largest = MathF.Abs(weight) > MathF.Abs(largest) ? weight : largest;
        }

        float best = 0, bestError = float.PositiveInfinity;
        foreach (float end in s_ends)
        {
            float scale = Rounded(largest / end), error = 0;
            foreach (float weight in weights)
            {
                float distance = weight - (Code(weight, scale) - CodeFormat.Int4Zero) * scale;
                error += distance * distance;
            }

            if (error < bestError)
            {
                (bestError, best) = (error, scale);
            }
        }

        return best;
    }

    private static int Code(float weight, float scale) =>
        scale == 0 ? CodeFormat.Int4Zero : (int)Math.Clamp(MathF.Round(weight / scale) + CodeFormat.Int4Zero, 0, 15);

    private static float Rounded(float value)
    {
        ushort bits;
        BFloat16Element.Store(value, (byte*)&bits);
        return BFloat16Element.Load((byte*)&bits);
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using PrefixTorch.Kernels;

namespace PrefixTorch.Model;

/// <summary>From floats to codes, a row at a time; see <see cref="CodeFormat"/>.</summary>
internal static unsafe class QuantizeKernel
{
    // How many steps the range of a group is taken to have: fewer than fifteen cut its ends off a little, which can serve the weights between.
    private static readonly float[] s_steps = [15, 14.5f, 14, 13.5f, 15.5f, 16];

    /// <summary>Signed bytes with one scale, which is returned: the largest magnitude becomes 127.</summary>
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
    /// Four bits, the groups' scales and zero points, as output <paramref name="n"/> of a panel; returns the row's scale. <paramref name="panel"/> is cleared by the caller: padding stays zero.
    /// </summary>
    /// <remarks>
    /// Each group gets the line <c>scale × code + minimum</c> of the smallest squared error: from a few ranges, each improved by the least squares of its own
    /// codes. Scale and zero point are then rounded to bytes, and the codes chosen for what they have become.
    /// </remarks>
    public static float Int4(ReadOnlySpan<float> row, byte* panel, int n)
    {
        int groups = (row.Length + CodeFormat.Group - 1) / CodeFormat.Group;
        float* weights = stackalloc float[CodeFormat.Group];
        (float Scale, float Minimum)[] lines = System.Buffers.ArrayPool<(float, float)>.Shared.Rent(groups);
        float largest = 0;
        for (int group = 0; group < groups; group++)
        {
            lines[group] = BestLine(Group(row, group, weights));
            largest = MathF.Max(largest, lines[group].Scale);
        }

        float rowScale = largest / (byte.MaxValue * byte.MaxValue);
        for (int group = 0; group < groups && rowScale > 0; group++)
        {
            (long scalesAt, long codesAt) = CodeFormat.GroupPlace(group);
            int count = Math.Min(CodeFormat.Group, row.Length - group * CodeFormat.Group);
            Weights32 values = Group(row, group, weights);
            (byte root, byte point) = BestBytes(values, lines[group], rowScale);
            (panel[scalesAt + n], panel[scalesAt + CodeFormat.Panel + n]) = (root, point);
            float scale = root * root * rowScale, zero = point / (float)CodeFormat.ZeroParts;
            var words = (uint*)(panel + codesAt);
            for (int i = 0; i < count && scale > 0; i++)
            {
                (int word, int shift) = CodeFormat.Int4Place(n, i);
                words[word] |= (uint)Math.Clamp(MathF.Floor(weights[i] / scale + zero + 0.5f), 0, CodeFormat.Int4Largest) << shift;
            }
        }

        System.Buffers.ArrayPool<(float, float)>.Shared.Return(lines);
        return rowScale;
    }

    // A group's weights, the last one's filled up with its first weight, which changes neither its range nor, much, its line.
    private static Weights32 Group(ReadOnlySpan<float> row, int group, float* weights)
    {
        ReadOnlySpan<float> given = row.Slice(group * CodeFormat.Group, Math.Min(CodeFormat.Group, row.Length - group * CodeFormat.Group));
        var all = new Span<float>(weights, CodeFormat.Group);
        all.Fill(given[0]);
        given.CopyTo(all);
        return new Weights32(Vector256.Load(weights), Vector256.Load(weights + 8), Vector256.Load(weights + 16), Vector256.Load(weights + 24));
    }

    // Zero is always among the values, as zero points are codes.
    private static (float Scale, float Minimum) BestLine(Weights32 weights)
    {
        (float low, float high) = weights.Range();
        (low, high) = (MathF.Min(low, 0), MathF.Max(high, 0));
        float bestError = float.PositiveInfinity;
        (float Scale, float Minimum) best = default;
        if (high - low == 0)
        {
            return best;
        }

        foreach (float steps in s_steps)
        {
            float scale = (high - low) / steps, minimum = (low + high - (CodeFormat.Int4Largest * scale)) / 2;
            for (int round = 0; round < 2; round++)
            {
                if (scale > 0 && minimum <= 0 && minimum >= -CodeFormat.Int4Largest * scale && weights.Error(scale, minimum) is float error && error < bestError)
                {
                    (bestError, best) = (error, (scale, minimum));
                }

                (scale, minimum) = weights.LeastSquares(scale, minimum);
            }
        }

        return best;
    }

    // The scale's byte and its neighbours, each with the zero point that is nearest and its neighbours.
    private static (byte Scale, byte Zero) BestBytes(Weights32 weights, (float Scale, float Minimum) line, float rowScale)
    {
        (byte, byte) best = default;
        float bestError = float.PositiveInfinity;
        int near = (int)MathF.Sqrt(line.Scale / rowScale);
        for (int u = Math.Max(near, 1); u <= Math.Min(near + 1, byte.MaxValue) && line.Scale > 0; u++)
        {
            float scale = u * u * rowScale;
            int nearZero = (int)(-line.Minimum / scale * CodeFormat.ZeroParts);
            for (int zero = Math.Clamp(nearZero - 1, 0, 240); zero <= Math.Clamp(nearZero + 2, 0, 240); zero++)
            {
                float error = weights.Error(scale, -zero * scale / CodeFormat.ZeroParts);
                if (error < bestError)
                {
                    (bestError, best) = (error, ((byte)u, (byte)zero));
                }
            }
        }

        return best;
    }

    /// <summary>The weights of a group, in registers.</summary>
    private readonly struct Weights32(Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d)
    {
        private readonly Vector256<float> _a = a;
        private readonly Vector256<float> _b = b;
        private readonly Vector256<float> _c = c;
        private readonly Vector256<float> _d = d;

        /// <summary>The largest weight, and the smallest as the largest of their negatives.</summary>
        public (float Low, float High) Range() =>
            (-Vectors256.Largest(-Vector256.Min(Vector256.Min(_a, _b), Vector256.Min(_c, _d))), Vectors256.Largest(Vector256.Max(Vector256.Max(_a, _b), Vector256.Max(_c, _d))));

        /// <summary>The squared error of the nearest codes of a line.</summary>
        public float Error(float scale, float minimum)
        {
            Vector256<float> step = Vector256.Create(scale), low = Vector256.Create(minimum), inverse = Vector256.Create(1 / scale);
            Vector256<float> a = _a - low - (Codes(_a, low, inverse) * step), b = _b - low - (Codes(_b, low, inverse) * step);
            Vector256<float> c = _c - low - (Codes(_c, low, inverse) * step), d = _d - low - (Codes(_d, low, inverse) * step);
            return Vector256.Sum((a * a) + (b * b) + (c * c) + (d * d));
        }

        /// <summary>The line through the weights over the nearest codes of another one.</summary>
        public (float Scale, float Minimum) LeastSquares(float scale, float minimum)
        {
            Vector256<float> low = Vector256.Create(minimum), inverse = Vector256.Create(1 / scale);
            Vector256<float> a = Codes(_a, low, inverse), b = Codes(_b, low, inverse), c = Codes(_c, low, inverse), d = Codes(_d, low, inverse);
            const float Count = CodeFormat.Group;
            float codes = Vector256.Sum(a + b + c + d), squares = Vector256.Sum((a * a) + (b * b) + (c * c) + (d * d));
            float weights = Vector256.Sum(_a + _b + _c + _d), products = Vector256.Sum((a * _a) + (b * _b) + (c * _c) + (d * _d));
            float determinant = (Count * squares) - (codes * codes);
            return determinant <= 0 ? (scale, minimum) : (((Count * products) - (codes * weights)) / determinant, ((squares * weights) - (codes * products)) / determinant);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector256<float> Codes(Vector256<float> weights, Vector256<float> low, Vector256<float> inverse) =>
            Vector256.Min(Vector256.Max(Vector256.Floor(((weights - low) * inverse) + Vector256.Create(0.5f)), Vector256<float>.Zero), Vector256.Create((float)CodeFormat.Int4Largest));
    }
}

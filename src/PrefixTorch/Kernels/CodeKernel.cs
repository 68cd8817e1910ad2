using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>What tells int8 from int4 in the loop that both share.</summary>
internal unsafe interface ICodes
{
    /// <summary>Weights of a block.</summary>
    static abstract int Block { get; }

    /// <summary>Bytes of a block.</summary>
    static abstract int BlockBytes { get; }

    /// <summary>Of a block: how often four registers of values are met.</summary>
    static abstract int Quarters { get; }

    /// <summary>
    /// The register of codes that meets register <paramref name="part"/> of the four of <paramref name="quarter"/>, and of it the part
    /// that begins at byte <paramref name="at"/> of 64.
    /// </summary>
    static abstract TVector Load<TVectors, TVector>(byte* block, int quarter, int part, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary><paramref name="sum"/> and what a block gives, whose integer products are <paramref name="dot"/>, but for the row's scale.</summary>
    static abstract TVector Add<TVectors, TVector>(TVector sum, TVector dot, byte* block, int at, float scale, float* sums)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;
}

/// <summary>Signed bytes in order.</summary>
internal unsafe struct Int8Codes : ICodes
{
    public static int Block => CodeFormat.Int8Block;

    public static int BlockBytes => CodeFormat.Int8Block;

    public static int Quarters => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* block, int quarter, int part, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.LoadInt8AsInt16((sbyte*)block + (part * 32) + (at / 2));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Add<TVectors, TVector>(TVector sum, TVector dot, byte* block, int at, float scale, float* sums)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.MultiplyAdd(TVectors.ToFloat(dot), TVectors.Broadcast(scale), sum);
}

/// <summary>Four bits, four codes to a sixteen-bit lane, and a group to a lane.</summary>
internal unsafe struct Int4Codes : ICodes
{
    public static int Block => CodeFormat.Int4Block;

    public static int BlockBytes => CodeFormat.Int4BlockBytes;

    public static int Quarters => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* block, int quarter, int part, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        TVector bits = TVectors.Load((float*)(block + CodeFormat.Int4Header + (quarter * 64) + at));
        return part switch
        {
            0 => TVectors.Nibble(bits, 0),
            1 => TVectors.Nibble(bits, 4),
            2 => TVectors.Nibble(bits, 8),
            _ => TVectors.Nibble(bits, 12),
        };
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Add<TVectors, TVector>(TVector sum, TVector dot, byte* block, int at, float scale, float* sums)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        byte* lanes = block + (at / sizeof(float));
        TVector u = TVectors.LoadUInt8(lanes), zero = TVectors.LoadUInt8(lanes + CodeFormat.Groups);
        TVector product = TVectors.MultiplyAdd(zero, TVectors.Load(sums + (at / sizeof(float))), TVectors.ToFloat(dot));
        return TVectors.MultiplyAdd(product, TVectors.Multiply(TVectors.Multiply(u, u), TVectors.Broadcast(scale)), sum);
    }
}

/// <summary>
/// <c>y = x Wᵀ + b</c> for few rows and quantized weights: sixteen-bit activations meet codes in integer arithmetic, exact within a block, and blocks
/// are added up in fp32.
/// </summary>
/// <remarks>
/// Integer products take a third of the instructions of widening every weight to a float, which a core would not finish at the speed of
/// its memory. As in <see cref="LinearKernel{TVectors, TVector, TElement}"/> a row gives the same bits alone and in a batch.
/// </remarks>
internal static unsafe class CodeKernel<TVectors, TVector, TCodes>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TCodes : struct, ICodes
{
    private const int Line = Streams.Line;

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row. <paramref name="scales"/>: fp32 <c>[N]</c>.</summary>
    public static void Run(byte* codes, float* scales, float* bias, int first, int end, CodedRows x, float* y, int yStride)
    {
        long pitch = (long)x.Blocks * TCodes.BlockBytes;
        for (int n = first; n < end; n += 4)
        {
            // The last four overlap the ones before, which then get the same bits again; a matrix of fewer than four goes one by one.
            int at = Math.Max(first, Math.Min(n, end - 4)), count = Math.Min(4, end - at);
            byte* w = codes + at * pitch;
            float* b = bias is null ? null : bias + at;
            int r = 0;
            if (count == 4)
            {
                for (; r + 4 <= x.Rows; r += 4)
                {
                    FourByFour(w, pitch, scales + at, b, x, r, y + (long)r * yStride + at, yStride);
                }

                for (; r < x.Rows; r++)
                {
                    OneByFour(w, pitch, scales + at, b, x, r, y + (long)r * yStride + at);
                }
            }
            else
            {
                for (; r < x.Rows; r++)
                {
                    for (int i = 0; i < count; i++)
                    {
                        One(w + i * pitch, scales + at, i, b, x, r, y + (long)r * yStride + at);
                    }
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One(byte* w, float* scales, int output, float* bias, CodedRows x, int row, float* y)
    {
        short* v = x.Values(row);
        float* e = x.Scales(row), sums = x.Sums(row);
        TVector s = TVectors.Broadcast(0);
        for (int block = 0; block < x.Blocks; block++)
        {
            for (int at = 0; at < Line; at += TVectors.Width * sizeof(float))
            {
                TVector dot = TVectors.Broadcast(0);
                for (int quarter = 0; quarter < TCodes.Quarters; quarter++)
                {
                    dot = Dot(dot, w, quarter, at, v);
                }

                s = TCodes.Add<TVectors, TVector>(s, dot, w, at, e[block], sums);
            }

            w += TCodes.BlockBytes;
            v += TCodes.Block;
            sums += CodeFormat.Groups;
        }

        Finish(y, TVectors.Sum(s), scales, output, bias);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneByFour(byte* w, long pitch, float* scales, float* bias, CodedRows x, int row, float* y)
    {
        byte* w0 = w, w1 = w + pitch, w2 = w1 + pitch, w3 = w2 + pitch;
        long ahead = Streams.Ahead(pitch);
        short* v = x.Values(row);
        float* e = x.Scales(row), sums = x.Sums(row);
        TVector zero = TVectors.Broadcast(0), s0 = zero, s1 = zero, s2 = zero, s3 = zero;
        for (int block = 0; block < x.Blocks; block++)
        {
            Streams.Prefetch<TCodes>(w0, w1, w2, w3, ahead);
            for (int at = 0; at < Line; at += TVectors.Width * sizeof(float))
            {
                TVector d0 = zero, d1 = zero, d2 = zero, d3 = zero;
                for (int quarter = 0; quarter < TCodes.Quarters; quarter++)
                {
                    d0 = Dot(d0, w0, quarter, at, v);
                    d1 = Dot(d1, w1, quarter, at, v);
                    d2 = Dot(d2, w2, quarter, at, v);
                    d3 = Dot(d3, w3, quarter, at, v);
                }

                s0 = TCodes.Add<TVectors, TVector>(s0, d0, w0, at, e[block], sums);
                s1 = TCodes.Add<TVectors, TVector>(s1, d1, w1, at, e[block], sums);
                s2 = TCodes.Add<TVectors, TVector>(s2, d2, w2, at, e[block], sums);
                s3 = TCodes.Add<TVectors, TVector>(s3, d3, w3, at, e[block], sums);
            }

            w0 += TCodes.BlockBytes;
            w1 += TCodes.BlockBytes;
            w2 += TCodes.BlockBytes;
            w3 += TCodes.BlockBytes;
            v += TCodes.Block;
            sums += CodeFormat.Groups;
        }

        Finish(y, TVectors.Sum(s0), scales, 0, bias);
        Finish(y, TVectors.Sum(s1), scales, 1, bias);
        Finish(y, TVectors.Sum(s2), scales, 2, bias);
        Finish(y, TVectors.Sum(s3), scales, 3, bias);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByFour(byte* w, long pitch, float* scales, float* bias, CodedRows x, int row, float* y, int yStride)
    {
        long ahead = Streams.Ahead(pitch);
        TVector zero = TVectors.Broadcast(0);
        for (int output = 0; output < 4; output++)
        {
            byte* w0 = w + output * pitch;
            short* v0 = x.Values(row), v1 = x.Values(row + 1), v2 = x.Values(row + 2), v3 = x.Values(row + 3);
            float* e0 = x.Scales(row), e1 = x.Scales(row + 1), e2 = x.Scales(row + 2), e3 = x.Scales(row + 3);
            float* c0 = x.Sums(row), c1 = x.Sums(row + 1), c2 = x.Sums(row + 2), c3 = x.Sums(row + 3);
            TVector s0 = zero, s1 = zero, s2 = zero, s3 = zero;
            for (int block = 0; block < x.Blocks; block++)
            {
                Streams.Prefetch<TCodes>(w0, ahead);
                for (int at = 0; at < Line; at += TVectors.Width * sizeof(float))
                {
                    TVector d0 = zero, d1 = zero, d2 = zero, d3 = zero;
                    for (int quarter = 0; quarter < TCodes.Quarters; quarter++)
                    {
                        TVector q0 = TCodes.Load<TVectors, TVector>(w0, quarter, 0, at), q1 = TCodes.Load<TVectors, TVector>(w0, quarter, 1, at);
                        TVector q2 = TCodes.Load<TVectors, TVector>(w0, quarter, 2, at), q3 = TCodes.Load<TVectors, TVector>(w0, quarter, 3, at);
                        d0 = Dot(d0, q0, q1, q2, q3, quarter, at, v0);
                        d1 = Dot(d1, q0, q1, q2, q3, quarter, at, v1);
                        d2 = Dot(d2, q0, q1, q2, q3, quarter, at, v2);
                        d3 = Dot(d3, q0, q1, q2, q3, quarter, at, v3);
                    }

                    s0 = TCodes.Add<TVectors, TVector>(s0, d0, w0, at, e0[block], c0);
                    s1 = TCodes.Add<TVectors, TVector>(s1, d1, w0, at, e1[block], c1);
                    s2 = TCodes.Add<TVectors, TVector>(s2, d2, w0, at, e2[block], c2);
                    s3 = TCodes.Add<TVectors, TVector>(s3, d3, w0, at, e3[block], c3);
                }

                w0 += TCodes.BlockBytes;
                v0 += TCodes.Block;
                v1 += TCodes.Block;
                v2 += TCodes.Block;
                v3 += TCodes.Block;
                c0 += CodeFormat.Groups;
                c1 += CodeFormat.Groups;
                c2 += CodeFormat.Groups;
                c3 += CodeFormat.Groups;
            }

            Finish(y, TVectors.Sum(s0), scales, output, bias);
            Finish(y + yStride, TVectors.Sum(s1), scales, output, bias);
            Finish(y + 2L * yStride, TVectors.Sum(s2), scales, output, bias);
            Finish(y + 3L * yStride, TVectors.Sum(s3), scales, output, bias);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Dot(TVector dot, byte* w, int quarter, int at, short* v) => Dot(
        dot,
        TCodes.Load<TVectors, TVector>(w, quarter, 0, at), TCodes.Load<TVectors, TVector>(w, quarter, 1, at),
        TCodes.Load<TVectors, TVector>(w, quarter, 2, at), TCodes.Load<TVectors, TVector>(w, quarter, 3, at),
        quarter, at, v);

    // Four registers of codes times four of values, exact in integers.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Dot(TVector dot, TVector q0, TVector q1, TVector q2, TVector q3, int quarter, int at, short* v)
    {
        byte* values = (byte*)v + (quarter * 4 * Line) + at;
        dot = TVectors.DotInt16(dot, q0, TVectors.Load((float*)values));
        dot = TVectors.DotInt16(dot, q1, TVectors.Load((float*)(values + Line)));
        dot = TVectors.DotInt16(dot, q2, TVectors.Load((float*)(values + (2 * Line))));
        return TVectors.DotInt16(dot, q3, TVectors.Load((float*)(values + (3 * Line))));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(float* y, float sum, float* scales, int output, float* bias)
    {
        sum *= scales[output];
        y[output] = bias is null ? sum : sum + bias[output];
    }
}

using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>What tells int8 from int4 in the loop that both share.</summary>
internal unsafe interface ICodes
{
    /// <summary>Bytes of a block.</summary>
    static abstract int BlockBytes { get; }

    /// <summary>Whether each group of 32 has a scale of its own.</summary>
    static abstract bool IsGrouped { get; }

    /// <summary>The register of codes that meets the register <paramref name="part"/> of values, of the block's half that begins at byte <paramref name="half"/>.</summary>
    static abstract TVector Load<TVectors, TVector>(byte* block, int half, int part)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;
}

/// <summary>Signed bytes in order.</summary>
internal unsafe struct Int8Codes : ICodes
{
    public static int BlockBytes => CodeFormat.Block;

    public static bool IsGrouped => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* block, int half, int part)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.LoadInt8AsInt16((sbyte*)block + part * 32 + half / 2);
}

/// <summary>Four bits, four codes to a sixteen-bit lane.</summary>
internal unsafe struct Int4Codes : ICodes
{
    public static int BlockBytes => CodeFormat.Int4BlockBytes;

    public static bool IsGrouped => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* block, int half, int part)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        TVector bits = TVectors.Load((float*)(block + half));
        return part switch
        {
            0 => TVectors.Nibble(bits, 0),
            1 => TVectors.Nibble(bits, 4),
            2 => TVectors.Nibble(bits, 8),
            _ => TVectors.Nibble(bits, 12),
        };
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
    /// <summary>
    /// Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row. <paramref name="scales"/>: fp32 <c>[N]</c> of int8, bf16
    /// <c>[N, groups]</c> of int4.
    /// </summary>
    public static void Run(byte* codes, byte* scales, float* bias, int first, int end, CodedRows x, float* y, int yStride)
    {
        int blocks = x.Blocks;
        long pitch = (long)blocks * TCodes.BlockBytes;
        for (int n = first; n < end; n += 4)
        {
            // The last four overlap the ones before, which then get the same bits again; a matrix of fewer than four goes one by one.
            int at = Math.Max(first, Math.Min(n, end - 4)), count = Math.Min(4, end - at);
            byte* w = codes + at * pitch;
            byte* s = scales + (TCodes.IsGrouped ? (long)at * blocks * CodeFormat.Groups * sizeof(ushort) : at * sizeof(float));
            float* b = bias is null ? null : bias + at;
            int r = 0;
            if (count == 4)
            {
                for (; r + 4 <= x.Rows; r += 4)
                {
                    FourByFour(w, pitch, s, b, blocks, x, r, y + (long)r * yStride + at, yStride);
                }

                for (; r < x.Rows; r++)
                {
                    OneByFour(w, pitch, s, b, blocks, x, r, y + (long)r * yStride + at);
                }
            }
            else
            {
                for (; r < x.Rows; r++)
                {
                    for (int i = 0; i < count; i++)
                    {
                        One(w + i * pitch, s, i, b, blocks, x, r, y + (long)r * yStride + at);
                    }
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization), SkipLocalsInit]
    private static void One(byte* w, byte* scales, int output, float* bias, int blocks, CodedRows x, int row, float* y)
    {
        float* groups = stackalloc float[TCodes.IsGrouped ? blocks * CodeFormat.Groups : 1];
        Groups(scales + (TCodes.IsGrouped ? (long)output * blocks * CodeFormat.Groups * sizeof(ushort) : 0), blocks, groups);
        short* v = x.Values(row);
        int* c = x.Corrections(row);
        float* e = x.Scales(row);
        TVector s = TVectors.Broadcast(0);
        for (int block = 0; block < blocks; block++)
        {
            TVector scale = TVectors.Broadcast(e[block]);
            for (int half = 0; half < 64; half += TVectors.Width * 4)
            {
                s = Block(s, w, v, c, half, scale, groups + block * CodeFormat.Groups);
            }

            w += TCodes.BlockBytes;
            v += CodeFormat.Block;
            c += 16;
        }

        Finish(y + output, TVectors.Sum(s), scales, output, bias);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization), SkipLocalsInit]
    private static void OneByFour(byte* w, long pitch, byte* scales, float* bias, int blocks, CodedRows x, int row, float* y)
    {
        float* g0 = stackalloc float[TCodes.IsGrouped ? 4 * blocks * CodeFormat.Groups : 4];
        Groups(scales, 4 * blocks, g0);
        int perOutput = TCodes.IsGrouped ? blocks * CodeFormat.Groups : 0, perBlock = TCodes.IsGrouped ? CodeFormat.Groups : 0;
        float* g1 = g0 + perOutput, g2 = g1 + perOutput, g3 = g2 + perOutput;
        byte* w0 = w, w1 = w + pitch, w2 = w1 + pitch, w3 = w2 + pitch;
        long ahead = Streams.Ahead(pitch);
        short* v = x.Values(row);
        int* c = x.Corrections(row);
        float* e = x.Scales(row);
        TVector s0 = TVectors.Broadcast(0), s1 = s0, s2 = s0, s3 = s0;
        for (int block = 0; block < blocks; block++)
        {
            Streams.Prefetch<TCodes>(w0, w1, w2, w3, ahead);
            TVector scale = TVectors.Broadcast(e[block]);
            for (int half = 0; half < 64; half += TVectors.Width * 4)
            {
                s0 = Block(s0, w0, v, c, half, scale, g0);
                s1 = Block(s1, w1, v, c, half, scale, g1);
                s2 = Block(s2, w2, v, c, half, scale, g2);
                s3 = Block(s3, w3, v, c, half, scale, g3);
            }

            w0 += TCodes.BlockBytes;
            w1 += TCodes.BlockBytes;
            w2 += TCodes.BlockBytes;
            w3 += TCodes.BlockBytes;
            g0 += perBlock;
            g1 += perBlock;
            g2 += perBlock;
            g3 += perBlock;
            v += CodeFormat.Block;
            c += 16;
        }

        Finish(y, TVectors.Sum(s0), scales, 0, bias);
        Finish(y + 1, TVectors.Sum(s1), scales, 1, bias);
        Finish(y + 2, TVectors.Sum(s2), scales, 2, bias);
        Finish(y + 3, TVectors.Sum(s3), scales, 3, bias);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization), SkipLocalsInit]
    private static void FourByFour(byte* w, long pitch, byte* scales, float* bias, int blocks, CodedRows x, int row, float* y, int yStride)
    {
        float* groups = stackalloc float[TCodes.IsGrouped ? 4 * blocks * CodeFormat.Groups : 4];
        Groups(scales, 4 * blocks, groups);
        long ahead = Streams.Ahead(pitch);
        TVector zero = TVectors.Broadcast(0);
        for (int output = 0; output < 4; output++)
        {
            byte* w0 = w + output * pitch;
            float* g = groups + (TCodes.IsGrouped ? output * blocks * CodeFormat.Groups : 0);
            short* v0 = x.Values(row), v1 = x.Values(row + 1), v2 = x.Values(row + 2), v3 = x.Values(row + 3);
            int* c0 = x.Corrections(row), c1 = x.Corrections(row + 1), c2 = x.Corrections(row + 2), c3 = x.Corrections(row + 3);
            float* e0 = x.Scales(row), e1 = x.Scales(row + 1), e2 = x.Scales(row + 2), e3 = x.Scales(row + 3);
            TVector s0 = zero, s1 = zero, s2 = zero, s3 = zero;
            for (int block = 0; block < blocks; block++)
            {
                Streams.Prefetch<TCodes>(w0, ahead);
                for (int half = 0; half < 64; half += TVectors.Width * 4)
                {
                    TVector q0 = TCodes.Load<TVectors, TVector>(w0, half, 0), q1 = TCodes.Load<TVectors, TVector>(w0, half, 1);
                    TVector q2 = TCodes.Load<TVectors, TVector>(w0, half, 2), q3 = TCodes.Load<TVectors, TVector>(w0, half, 3);
                    s0 = Add(s0, q0, q1, q2, q3, v0, c0, half, TVectors.Broadcast(e0[block]), g);
                    s1 = Add(s1, q0, q1, q2, q3, v1, c1, half, TVectors.Broadcast(e1[block]), g);
                    s2 = Add(s2, q0, q1, q2, q3, v2, c2, half, TVectors.Broadcast(e2[block]), g);
                    s3 = Add(s3, q0, q1, q2, q3, v3, c3, half, TVectors.Broadcast(e3[block]), g);
                }

                w0 += TCodes.BlockBytes;
                g += TCodes.IsGrouped ? CodeFormat.Groups : 0;
                v0 += CodeFormat.Block;
                v1 += CodeFormat.Block;
                v2 += CodeFormat.Block;
                v3 += CodeFormat.Block;
                c0 += 16;
                c1 += 16;
                c2 += 16;
                c3 += 16;
            }

            Finish(y + output, TVectors.Sum(s0), scales, output, bias);
            Finish(y + yStride + output, TVectors.Sum(s1), scales, output, bias);
            Finish(y + 2L * yStride + output, TVectors.Sum(s2), scales, output, bias);
            Finish(y + 3L * yStride + output, TVectors.Sum(s3), scales, output, bias);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Block(TVector sum, byte* w, short* v, int* c, int half, TVector scale, float* groups) => Add(
        sum,
        TCodes.Load<TVectors, TVector>(w, half, 0), TCodes.Load<TVectors, TVector>(w, half, 1), TCodes.Load<TVectors, TVector>(w, half, 2), TCodes.Load<TVectors, TVector>(w, half, 3),
        v, c, half, scale, groups);

    // One register's worth of a block: exact in integers, then scaled and added.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Add(TVector sum, TVector q0, TVector q1, TVector q2, TVector q3, short* v, int* c, int half, TVector scale, float* groups)
    {
        byte* values = (byte*)v + half;
        TVector dot = TCodes.IsGrouped ? TVectors.Load((float*)((byte*)c + half)) : TVectors.Broadcast(0);
        dot = TVectors.DotInt16(dot, q0, TVectors.Load((float*)values));
        dot = TVectors.DotInt16(dot, q1, TVectors.Load((float*)(values + 64)));
        dot = TVectors.DotInt16(dot, q2, TVectors.Load((float*)(values + 128)));
        dot = TVectors.DotInt16(dot, q3, TVectors.Load((float*)(values + 192)));
        return TVectors.MultiplyAdd(TVectors.ToFloat(dot), TCodes.IsGrouped ? TVectors.Multiply(scale, TVectors.BroadcastFour(groups)) : scale, sum);
    }

    // Scales of whole rows at once, so that the loop only loads: bf16 to floats.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Groups(byte* scales, int blocks, float* to)
    {
        if (!TCodes.IsGrouped)
        {
            return;
        }

        var from = (ushort*)scales;
        int count = blocks * CodeFormat.Groups, i = 0;
        for (; i + TVectors.Width <= count; i += TVectors.Width)
        {
            TVectors.Store(TVectors.LoadBFloat16(from + i), to + i);
        }

        for (; i < count; i++)
        {
            to[i] = BFloat16Element.Load((byte*)(from + i));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(float* y, float sum, byte* scales, int output, float* bias)
    {
        sum = TCodes.IsGrouped ? sum : sum * ((float*)scales)[output];
        *y = bias is null ? sum : sum + bias[output];
    }
}

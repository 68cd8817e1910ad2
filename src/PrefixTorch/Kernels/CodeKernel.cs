using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>What tells int8 from int4 in the loops that both share.</summary>
internal unsafe interface ICodes
{
    /// <summary>Weights of a row's block; the last one of a row may be shorter.</summary>
    static abstract int Block { get; }

    /// <summary>Bytes of a whole block.</summary>
    static abstract int BlockBytes { get; }

    /// <summary>Bytes of a row.</summary>
    static abstract long Pitch(int columns);

    /// <summary>How many runs of two registers of values a block meets, when so many columns are left.</summary>
    static abstract int Runs(int columns);

    /// <summary>Of the codes that meet the first or second register of a run, the part that begins at byte <paramref name="at"/> of 64.</summary>
    static abstract TVector Load<TVectors, TVector>(byte* block, int run, bool second, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary>Adds to <paramref name="dot"/> the products of codes and values, exact in integers.</summary>
    static abstract TVector Dot<TVectors, TVector>(TVector dot, TVector codes, TVector values)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary><paramref name="sum"/> and what a block gives, but for the row's scale: its products are <paramref name="dot"/>, and <paramref name="x"/> is the activations' block.</summary>
    static abstract TVector Add<TVectors, TVector>(TVector sum, TVector dot, byte* block, byte* x, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;
}

/// <summary>Signed bytes in order.</summary>
internal unsafe struct Int8Codes : ICodes
{
    public static int Block => CodedRows.Block;

    public static int BlockBytes => CodedRows.Block;

    public static long Pitch(int columns) => CodeFormat.Int8Blocks(columns) * CodeFormat.Int8Block;

    public static int Runs(int columns) => Math.Min(CodedRows.Block / CodeFormat.Int8Block, CodeFormat.Int8Blocks(columns));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* block, int run, bool second, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.Load((float*)(block + (run * CodeFormat.Int8Block) + (second ? Streams.Line : 0) + at));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Dot<TVectors, TVector>(TVector dot, TVector codes, TVector values)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.DotInt8(dot, codes, values);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Add<TVectors, TVector>(TVector sum, TVector dot, byte* block, byte* x, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.MultiplyAdd(TVectors.ToFloat(dot), TVectors.Load((float*)(x + at)), sum);
}

/// <summary>Four bits, and a group to a lane.</summary>
internal unsafe struct Int4Codes : ICodes
{
    // Two sixteen-bit lanes of what a step has parts that zero points count.
    private const int Parts = CodeFormat.ZeroParts * 0x10001;

    public static int Block => CodeFormat.Int4Block;

    public static int BlockBytes => CodeFormat.Int4BlockBytes;

    public static long Pitch(int columns) => CodeFormat.Int4Blocks(columns) * CodeFormat.Int4BlockBytes;

    public static int Runs(int columns) => CodeFormat.Int4Block / 2 / Streams.Line;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* block, int run, bool second, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        TVector bytes = TVectors.Load((float*)(block + CodeFormat.Int4Header + (run * Streams.Line) + at));
        return second ? TVectors.HighNibbles(bytes) : TVectors.LowNibbles(bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Dot<TVectors, TVector>(TVector dot, TVector codes, TVector values)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.DotNibbles(dot, codes, values);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Add<TVectors, TVector>(TVector sum, TVector dot, byte* block, byte* x, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        byte* lanes = block + (at / sizeof(float));
        TVector zero = TVectors.Broadcast(0), parts = TVectors.Broadcast(BitConverter.Int32BitsToSingle(Parts)), u = TVectors.ToFloat(TVectors.LoadUInt8AsInt32(lanes));
        TVector corrections = TVectors.Load((float*)(x + CodedRows.CorrectionsAt + at));
        TVector whole = TVectors.DotInt16(TVectors.DotInt16(zero, dot, parts), TVectors.LoadUInt8AsInt32(lanes + CodeFormat.Groups), corrections);
        return TVectors.MultiplyAdd(TVectors.Multiply(TVectors.ToFloat(whole), TVectors.Load((float*)(x + at))), TVectors.Multiply(u, u), sum);
    }
}

/// <summary><c>y = x Wᵀ + b</c> for quantized weights and any number of rows: exact in integers within a lane of a block, and blocks are added up in fp32.</summary>
/// <remarks>
/// Codes are read as they are, also by many rows: a group of outputs' codes stays in the second cache level while all rows pass. An element of y gives the
/// same bits whatever rows and outputs are computed with it.
/// </remarks>
internal static unsafe class CodeKernel<TVectors, TVector, TCodes>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TCodes : struct, ICodes
{
    private const int Line = Streams.Line;
    private const int TileRows = 4;

    // Outputs whose codes meet all rows before the next ones' do.
    private const int Group = 32;

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row. <paramref name="scales"/>: fp32 <c>[N]</c>.</summary>
    public static void Run(byte* codes, float* scales, float* bias, int first, int end, CodedRows x, float* y, int yStride)
    {
        long pitch = TCodes.Pitch(x.Columns);
        for (int group = first; group < end; group += Group)
        {
            int groupEnd = Math.Min(end, group + Group), r = 0;
            for (; r + TileRows <= x.Rows; r += TileRows)
            {
                for (int n = group; n < groupEnd; n += 2)
                {
                    FourByTwo(codes + (n * pitch), pitch, n + 1 < groupEnd ? 1 : 0, x, r, y + ((long)r * yStride) + n, yStride);
                }
            }

            for (; r < x.Rows; r++)
            {
                // The last four overlap the ones before, which then get the same bits again; fewer than four are one row again and again.
                for (int n = group; n < groupEnd; n += 4)
                {
                    int at = Math.Max(group, Math.Min(n, groupEnd - 4)), last = groupEnd - 1 - at;
                    OneByFour(codes + (at * pitch), pitch, last, x, r, y + ((long)r * yStride) + at);
                }
            }
        }

        for (int r = 0; r < x.Rows; r++, y += yStride)
        {
            for (int n = first; n < end; n++)
            {
                float sum = y[n] * scales[n];
                y[n] = bias is null ? sum : sum + bias[n];
            }
        }
    }

    // One row and the four outputs from here on to the last one.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneByFour(byte* w, long pitch, int last, CodedRows x, int row, float* y)
    {
        int second = Math.Min(1, last), third = Math.Min(2, last), fourth = Math.Min(3, last);
        byte* w0 = w, w1 = w + (second * pitch), w2 = w + (third * pitch), w3 = w + (fourth * pitch), v = x.Row(row);
        long ahead = Streams.Ahead(pitch);
        TVector zero = TVectors.Broadcast(0), s0 = zero, s1 = zero, s2 = zero, s3 = zero;
        for (int columns = x.Columns; columns > 0; columns -= TCodes.Block)
        {
            int runs = TCodes.Runs(columns);
            Streams.Prefetch<TCodes>(w0, w1, w2, w3, ahead);
            for (int at = 0; at < Line; at += TVectors.Width * sizeof(float))
            {
                TVector d0 = zero, d1 = zero, d2 = zero, d3 = zero;
                byte* values = v + CodedRows.ValuesAt + at;
                for (int run = 0; run < runs; run++, values += 2 * Line)
                {
                    TVector first = TVectors.Load((float*)values), next = TVectors.Load((float*)(values + Line));
                    d0 = Dot(Dot(d0, w0, run, false, at, first), w0, run, true, at, next);
                    d1 = Dot(Dot(d1, w1, run, false, at, first), w1, run, true, at, next);
                    d2 = Dot(Dot(d2, w2, run, false, at, first), w2, run, true, at, next);
                    d3 = Dot(Dot(d3, w3, run, false, at, first), w3, run, true, at, next);
                }

                s0 = TCodes.Add<TVectors, TVector>(s0, d0, w0, v, at);
                s1 = TCodes.Add<TVectors, TVector>(s1, d1, w1, v, at);
                s2 = TCodes.Add<TVectors, TVector>(s2, d2, w2, v, at);
                s3 = TCodes.Add<TVectors, TVector>(s3, d3, w3, v, at);
            }

            w0 += TCodes.BlockBytes;
            w1 += TCodes.BlockBytes;
            w2 += TCodes.BlockBytes;
            w3 += TCodes.BlockBytes;
            v += CodedRows.BlockBytes;
        }

        y[0] = TVectors.Sum(s0);
        y[second] = TVectors.Sum(s1);
        y[third] = TVectors.Sum(s2);
        y[fourth] = TVectors.Sum(s3);
    }

    // Four rows and two outputs, the second one so many after the first.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static void FourByTwo(byte* w, long pitch, int second, CodedRows x, int row, float* y, int yStride)
    {
        // Sixteen registers hold the products of a block, and not the sums over blocks too.
        float* sums = stackalloc float[8 * Line / sizeof(float)];
        byte* w0 = w, w1 = w + (second * pitch), v = x.Row(row);
        long vPitch = x.Pitch, ahead = row == 0 ? Streams.Ahead(pitch) : 0;
        TVector zero = TVectors.Broadcast(0);
        for (int i = 0; i < 8; i++)
        {
            TVectors.Store(zero, sums + (i * TVectors.Width));
        }

        for (int columns = x.Columns; columns > 0; columns -= TCodes.Block)
        {
            int runs = TCodes.Runs(columns);
            if (ahead != 0)
            {
                Streams.Prefetch<TCodes>(w0, ahead);
                Streams.Prefetch<TCodes>(w1, ahead);
            }

            byte* v2 = v + (2 * vPitch);
            for (int at = 0; at < Line; at += TVectors.Width * sizeof(float))
            {
                TVector d00 = zero, d01 = zero, d10 = zero, d11 = zero, d20 = zero, d21 = zero, d30 = zero, d31 = zero;
                byte* x0 = v + CodedRows.ValuesAt + at, x2 = v2 + CodedRows.ValuesAt + at;
                for (int run = 0; run < runs; run++, x0 += 2 * Line, x2 += 2 * Line)
                {
                    TVector c0 = TCodes.Load<TVectors, TVector>(w0, run, false, at), c1 = TCodes.Load<TVectors, TVector>(w1, run, false, at);
                    TVector values = TVectors.Load((float*)x0);
                    d00 = TCodes.Dot<TVectors, TVector>(d00, c0, values);
                    d01 = TCodes.Dot<TVectors, TVector>(d01, c1, values);
                    values = TVectors.Load((float*)(x0 + vPitch));
                    d10 = TCodes.Dot<TVectors, TVector>(d10, c0, values);
                    d11 = TCodes.Dot<TVectors, TVector>(d11, c1, values);
                    values = TVectors.Load((float*)x2);
                    d20 = TCodes.Dot<TVectors, TVector>(d20, c0, values);
                    d21 = TCodes.Dot<TVectors, TVector>(d21, c1, values);
                    values = TVectors.Load((float*)(x2 + vPitch));
                    d30 = TCodes.Dot<TVectors, TVector>(d30, c0, values);
                    d31 = TCodes.Dot<TVectors, TVector>(d31, c1, values);
                    c0 = TCodes.Load<TVectors, TVector>(w0, run, true, at);
                    c1 = TCodes.Load<TVectors, TVector>(w1, run, true, at);
                    values = TVectors.Load((float*)(x0 + Line));
                    d00 = TCodes.Dot<TVectors, TVector>(d00, c0, values);
                    d01 = TCodes.Dot<TVectors, TVector>(d01, c1, values);
                    values = TVectors.Load((float*)(x0 + vPitch + Line));
                    d10 = TCodes.Dot<TVectors, TVector>(d10, c0, values);
                    d11 = TCodes.Dot<TVectors, TVector>(d11, c1, values);
                    values = TVectors.Load((float*)(x2 + Line));
                    d20 = TCodes.Dot<TVectors, TVector>(d20, c0, values);
                    d21 = TCodes.Dot<TVectors, TVector>(d21, c1, values);
                    values = TVectors.Load((float*)(x2 + vPitch + Line));
                    d30 = TCodes.Dot<TVectors, TVector>(d30, c0, values);
                    d31 = TCodes.Dot<TVectors, TVector>(d31, c1, values);
                }

                Add(sums, 0, d00, d01, w0, w1, v, at);
                Add(sums, 2, d10, d11, w0, w1, v + vPitch, at);
                Add(sums, 4, d20, d21, w0, w1, v2, at);
                Add(sums, 6, d30, d31, w0, w1, v2 + vPitch, at);
            }

            w0 += TCodes.BlockBytes;
            w1 += TCodes.BlockBytes;
            v += CodedRows.BlockBytes;
        }

        for (int i = 0; i < TileRows; i++, y += yStride)
        {
            y[0] = TVectors.Sum(TVectors.Load(sums + (2 * i * TVectors.Width)));
            y[second] = TVectors.Sum(TVectors.Load(sums + (((2 * i) + 1) * TVectors.Width)));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Dot(TVector dot, byte* w, int run, bool second, int at, TVector values) =>
        TCodes.Dot<TVectors, TVector>(dot, TCodes.Load<TVectors, TVector>(w, run, second, at), values);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(float* sums, int first, TVector dot0, TVector dot1, byte* w0, byte* w1, byte* x, int at)
    {
        float* s0 = sums + (first * TVectors.Width), s1 = s0 + TVectors.Width;
        TVectors.Store(TCodes.Add<TVectors, TVector>(TVectors.Load(s0), dot0, w0, x, at), s0);
        TVectors.Store(TCodes.Add<TVectors, TVector>(TVectors.Load(s1), dot1, w1, x, at), s1);
    }
}

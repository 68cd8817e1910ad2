using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary><c>y = x Wᵀ + b</c> for int8 weights and any number of rows, by vectors of any width: exact in integers within a lane of a block, and blocks are added up in fp32.</summary>
/// <remarks>
/// Codes are read as they are, also by many rows: a group of outputs' codes stays in the second cache level while all rows pass, and a tile's activations
/// of a stretch of K in the first one while all outputs of the group pass. An element of y gives the same bits whatever rows and outputs are computed
/// with it.
/// </remarks>
internal static unsafe class Int8Kernel<TProducts, TVectors, TVector>
    where TProducts : struct, IByteProducts<TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    private const int Line = Streams.Line;

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row. <paramref name="scales"/>: fp32 <c>[N]</c>.</summary>
    /// <exception cref="ArgumentException">The activations do not stand as the codes meet them.</exception>
    public static void Run(byte* codes, float* scales, float* bias, int first, int end, CodedRows x, float* y, int yStride)
    {
        if (x.Order != TProducts.Order)
        {
            throw new ArgumentException($"Activations stand as {x.Order} and int8 meets {TProducts.Order}; encode them so.", nameof(x));
        }

        Streams.PrefetchScales(scales, first, end);
        long pitch = (long)CodeFormat.Int8Blocks(x.Columns) * CodeFormat.Int8Block;
        for (int group = first; group < end; group += Int8Shape.Group)
        {
            int groupEnd = Math.Min(end, group + Int8Shape.Group), r = 0;
            while (x.Rows - r >= Int8Shape.FewestTogether)
            {
                byte* w = codes + (group * pitch);
                float* b = bias is null ? null : bias + group, to = y + ((long)r * yStride) + group;
                r += x.Rows - r >= Int8Shape.FewestByEight
                    ? Together<EightByOne>(w, pitch, groupEnd - group, scales + group, b, x, r, to, yStride)
                    : Together<FourByTwo>(w, pitch, groupEnd - group, scales + group, b, x, r, to, yStride);
            }

            // The last four overlap the ones before, which then get the same bits again; fewer than four are one row again and again.
            for (int n = group; n < groupEnd && r < x.Rows; n += 4)
            {
                int at = Math.Max(group, Math.Min(n, groupEnd - 4)), last = groupEnd - 1 - at;
                for (int row = r; row < x.Rows; row++)
                {
                    OneByFour(codes + (at * pitch), pitch, last, scales + at, bias is null ? null : bias + at, x, row, y + ((long)row * yStride) + at);
                }
            }
        }
    }

    // One row and the four outputs from here on to the last one.
    [SkipLocalsInit]
    private static void OneByFour(byte* w, long pitch, int last, float* scales, float* bias, CodedRows x, int row, float* y)
    {
        float* sums = stackalloc float[4 * TVectors.Width];
        for (int n = 0; n < 4; n++)
        {
            One(w + (Math.Min(n, last) * pitch), x.Columns, x.Row(row), sums + (n * TVectors.Width));
        }

        Vector128<float> four = TVectors.Sums(TVectors.Load(sums), TVectors.Load(sums + TVectors.Width), TVectors.Load(sums + (2 * TVectors.Width)), TVectors.Load(sums + (3 * TVectors.Width)));
        Finish(four, last, scales, bias, y);
    }

    // One row and one output, whose lanes' sums are left. Codes are one stream of memory, from output to output.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One(byte* w, int columns, byte* v, float* sums)
    {
        int blockBytes = CodedRows.BlockSizeOf(TProducts.Order), valuesLine = CodedRows.ValueSize(TProducts.Order) * Line, part = TVectors.Width * sizeof(float);
        TVector sum = TVectors.Broadcast(0);
        for (; columns > 0; columns -= CodedRows.Block, v += blockBytes)
        {
            byte* values = v + CodedRows.ValuesAt;
            TVector d0 = TProducts.BeginInt8(v), d1 = d0, d2 = d0, d3 = d0;
            if (TVectors.Width <= 8)
            {
                d1 = TProducts.BeginInt8(v + part);
            }

            if (TVectors.Width <= 4)
            {
                d2 = TProducts.BeginInt8(v + (2 * part));
                d3 = TProducts.BeginInt8(v + (3 * part));
            }

            for (int run = RunsOf(columns); run > 0; run--, w += Line, values += valuesLine)
            {
                Streams.Prefetch(w + Streams.AlongStream);
                d0 = Dot(d0, w, values, 0);
                if (TVectors.Width <= 8)
                {
                    d1 = Dot(d1, w, values, part);
                }

                if (TVectors.Width <= 4)
                {
                    d2 = Dot(d2, w, values, 2 * part);
                    d3 = Dot(d3, w, values, 3 * part);
                }
            }

            sum = Add(sum, d0, v);
            if (TVectors.Width <= 8)
            {
                sum = Add(sum, d1, v + part);
            }

            if (TVectors.Width <= 4)
            {
                sum = Add(sum, d2, v + (2 * part));
                sum = Add(sum, d3, v + (3 * part));
            }
        }

        TVectors.Store(sum, sums);
    }

    // A tile's rows, or as many as there are, and a group of outputs. Returns how many rows these were.
    [SkipLocalsInit]
    private static int Together<TTile>(byte* w, long pitch, int outputs, float* scales, float* bias, CodedRows x, int row, float* y, int yStride)
        where TTile : struct, IInt8Tile
    {
        // Sixteen registers hold the products of a block, and not the sums over blocks too.
        int rows = Math.Min(TTile.Rows, x.Rows - row), perOutput = TTile.Rows * TVectors.Width, blockBytes = x.BlockSize, stretch = Int8Shape.Stretch / (TTile.Rows * blockBytes);
        float* sums = stackalloc float[Int8Shape.Group * Int8Shape.MostRows * Line / sizeof(float)];
        new Span<float>(sums, (outputs + 3) / 4 * 4 * perOutput).Clear();
        byte* v = x.Row(row);
        long ahead = row == 0 ? Streams.RowsAhead(pitch) : 0;
        for (int columns = x.Columns; columns > 0; columns -= stretch * CodedRows.Block)
        {
            AddStretch<TTile>(w, pitch, outputs, ahead, v, x.Pitch, rows - 1, Math.Min(columns, stretch * CodedRows.Block), sums);
            w += stretch * CodedRows.Block;
            v += stretch * blockBytes;
        }

        for (int n = 0; n < outputs; n += 4)
        {
            float* s = sums + (n * perOutput);
            for (int r = 0; r < rows; r++, s += TVectors.Width)
            {
                Vector128<float> four = TVectors.Sums(TVectors.Load(s), TVectors.Load(s + perOutput), TVectors.Load(s + (2 * perOutput)), TVectors.Load(s + (3 * perOutput)));
                Finish(four, outputs - 1 - n, scales + n, bias is null ? null : bias + n, y + ((long)r * yStride) + n);
            }
        }

        return rows;
    }

    // Scale and bias of four outputs, or of those up to the last one.
    private static void Finish(Vector128<float> sums, int last, float* scales, float* bias, float* y)
    {
        if (last >= 3)
        {
            sums *= Vector128.Load(scales);
            (bias is null ? sums : sums + Vector128.Load(bias)).Store(y);
            return;
        }

        for (int n = 0; n <= last; n++)
        {
            float sum = sums[n] * scales[n];
            y[n] = bias is null ? sum : sum + bias[n];
        }
    }

    // Adds to the sums of a tile's rows and some outputs what a stretch of K gives. Fewer rows are the last one again and again. Each value is read where it
    // is multiplied: of processors without more than AVX2 many read memory as part of a multiplication for nothing, and spend a slot on a load of its own.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddStretch<TTile>(byte* w, long wPitch, int outputs, long ahead, byte* v, long pitch, int last, int stretch, float* sums)
        where TTile : struct, IInt8Tile
    {
        int blockBytes = CodedRows.BlockSizeOf(TProducts.Order), valuesLine = CodedRows.ValueSize(TProducts.Order) * Line;
        byte* v0 = v, v1 = v + (Math.Min(1, last) * pitch), v2 = v + (Math.Min(2, last) * pitch), v3 = v + (Math.Min(3, last) * pitch);
        byte* v4 = v + (Math.Min(4 % TTile.Rows, last) * pitch), v5 = v + (Math.Min(5 % TTile.Rows, last) * pitch);
        byte* v6 = v + (Math.Min(6 % TTile.Rows, last) * pitch), v7 = v + (Math.Min(7 % TTile.Rows, last) * pitch);
        for (; outputs > 0; outputs -= TTile.Outputs, w += TTile.Outputs * wPitch, sums += Int8Shape.MostRows * TVectors.Width)
        {
            byte* w0 = w, w1 = TTile.Outputs > 1 && outputs > 1 ? w + wPitch : w;
            long block = 0;
            for (int columns = stretch; columns > 0; columns -= CodedRows.Block, block += blockBytes, w0 += CodedRows.Block, w1 += CodedRows.Block)
            {
                int runs = RunsOf(columns);
                if (ahead != 0)
                {
                    Streams.PrefetchBlock(w0, ahead);
                    if (TTile.Outputs > 1)
                    {
                        Streams.PrefetchBlock(w1, ahead);
                    }
                }

                for (int at = 0; at < Line; at += TVectors.Width * sizeof(float))
                {
                    TVector s0 = TProducts.BeginInt8(v0 + block + at), s1 = TProducts.BeginInt8(v1 + block + at), s2 = TProducts.BeginInt8(v2 + block + at), s3 = TProducts.BeginInt8(v3 + block + at);
                    TVector s4 = TProducts.BeginInt8(v4 + block + at), s5 = TProducts.BeginInt8(v5 + block + at), s6 = TProducts.BeginInt8(v6 + block + at), s7 = TProducts.BeginInt8(v7 + block + at);
                    long i = block + CodedRows.ValuesAt + at;
                    for (int run = 0; run < runs; run++, i += valuesLine)
                    {
                        TProducts.UnpackInt8(Load(w0, run, at), out TVector a0, out TVector b0);
                        TVector a1 = a0, b1 = b0;
                        if (TTile.Outputs > 1)
                        {
                            TProducts.UnpackInt8(Load(w1, run, at), out a1, out b1);
                        }

                        s0 = TProducts.DotInt8(s0, a0, b0, v0 + i);
                        s1 = TProducts.DotInt8(s1, a0, b0, v1 + i);
                        s2 = TProducts.DotInt8(s2, a0, b0, v2 + i);
                        s3 = TProducts.DotInt8(s3, a0, b0, v3 + i);
                        s4 = TProducts.DotInt8(s4, a1, b1, v4 + i);
                        s5 = TProducts.DotInt8(s5, a1, b1, v5 + i);
                        s6 = TProducts.DotInt8(s6, a1, b1, v6 + i);
                        s7 = TProducts.DotInt8(s7, a1, b1, v7 + i);
                    }

                    Add(sums, 0, s0, v0 + block + at);
                    Add(sums, 1, s1, v1 + block + at);
                    Add(sums, 2, s2, v2 + block + at);
                    Add(sums, 3, s3, v3 + block + at);
                    Add(sums, 4, s4, v4 + block + at);
                    Add(sums, 5, s5, v5 + block + at);
                    Add(sums, 6, s6, v6 + block + at);
                    Add(sums, 7, s7, v7 + block + at);
                }
            }
        }
    }

    // What a register of a line's codes gives.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Dot(TVector dot, byte* w, byte* values, int at)
    {
        TProducts.UnpackInt8(TVectors.Load((float*)(w + at)), out TVector first, out TVector second);
        return TProducts.DotInt8(dot, first, second, values + at);
    }

    // Codes of a run, from byte at of 64 on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Load(byte* block, int run, int at) => TVectors.Load((float*)(block + (run * Line) + at));

    // What a block gives, times the activations' scales, to the blocks before.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Add(TVector sum, TVector dot, byte* scales) => TVectors.MultiplyAdd(TVectors.ToFloat(dot), TVectors.Load((float*)scales), sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(float* sums, int product, TVector dot, byte* scales)
    {
        float* sum = sums + (product * TVectors.Width);
        TVectors.Store(Add(TVectors.Load(sum), dot, scales), sum);
    }

    // How many cache lines of codes a block has, when so many columns are left.
    private static int RunsOf(int columns) => Math.Min(CodedRows.Block, CodeFormat.Int8Blocks(columns) * CodeFormat.Int8Block) / Line;
}

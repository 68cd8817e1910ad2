using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>A matrix <c>[N, K]</c> as a product by tiles reads it.</summary>
/// <param name="Source">bf16, or codes of either kind.</param>
/// <param name="Data">The first row.</param>
/// <param name="Scales">Of codes: fp32 <c>[N]</c>; otherwise null.</param>
/// <param name="Columns">K.</param>
internal readonly unsafe record struct TileWeights(TileSource Source, nint Data, nint Scales, int Columns);

/// <summary>
/// <c>y = x Wᵀ + b</c> for any number of rows, in products of bf16 or of bytes, summed in fp32: memory-bound decoding, short suffixes and long prompts
/// are one loop.
/// </summary>
/// <remarks>
/// Shapes: x <c>[R, K]</c> bf16, or for codes as <see cref="CodedRows"/> lays it; y <c>[R, N]</c> fp32. K is taken in blocks of <see cref="KBlock"/>, whose sums are added in order.
/// An element of y gives the same bits whatever rows and outputs are computed with it: one token at a time, or a whole prompt.
/// </remarks>
internal static unsafe class TileProduct
{
    /// <summary>Elements of a K block: six rows of activations are then 24 KB, which the first cache level holds.</summary>
    public const int KBlock = 2048;

    private const int OutputsAtOnce = 64;
    private const int BytesPerBlock = 1 << 16;
    private const int OutputsOfSeveral = 32;

    private const int ManyRows = 64;

    private const int NearStride = OutputsAtOnce + (Streams.Line / sizeof(float));

    /// <summary>
    /// How many outputs a thread should take at a time: of few rows what it streams in a few microseconds, otherwise so many that rows are met often
    /// while they are near.
    /// </summary>
    public static int OutputsPerBlock(TileSource source, int rows, long rowBytes)
    {
        int few = (int)Math.Max(TileShape.MostOutputs, BytesPerBlock / rowBytes / TileShape.MostOutputs * TileShape.MostOutputs);
        return rows >= ManyRows ? OutputsAtOnce : TileShape.For(source, rows).IsForFew(rows) ? few : Math.Max(OutputsOfSeveral, few);
    }

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row.</summary>
    [SkipLocalsInit]
    public static void Run(TileWeights w, float* bias, int first, int end, byte* x, long xPitch, int rows, float* y, int yStride)
    {
        Streams.PrefetchScales((float*)w.Scales, first, end);

        // Rows of y often lie a power of two apart, where the cache has room for few of them: what several rows' tiles leave, a few numbers at a time,
        // they leave side by side first.
        var shape = TileShape.For(w.Source, rows);
        bool isFew = shape.IsForFew(rows), isNear = !isFew && rows < ManyRows;
        float* near = stackalloc float[isNear ? rows * NearStride : 0];
        for (int n = first, count; n < end; n += count)
        {
            count = Math.Min(OutputsAtOnce, end - n);
            int whole = count / shape.Outputs * shape.Outputs;
            float* to = isNear ? near : y + n;
            int stride = isNear ? NearStride : yStride;
            if (isFew)
            {
                Few(w, shape, n, whole, x, xPitch, rows, to, stride);
            }
            else
            {
                Several(w, shape, n, whole, x, xPitch, rows, to, stride);
            }

            for (int i = whole; i < count; i++)
            {
                Single(w, n + i, x, xPitch, rows, to + i, stride);
            }

            Finish(w, bias, n, count, rows, to, stride, y + n, yStride);
        }
    }

    // Outputs first … + count − 1, a multiple of a tile's, and rows of one tile. Its rows of weights are not neighbours but the next ones of as many long
    // streams: short rows side by side came a tenth slower, as the processor's own prefetching hardly begins before they end.
    [SkipLocalsInit]
    private static void Few(TileWeights w, TileShape shape, int first, int count, byte* x, long xPitch, int rows, float* y, int yStride)
    {
        var layout = TileLayout.Of(w.Source, w.Columns);
        int parts = (layout.Padded + KBlock - 1) / KBlock, stream = count / shape.Outputs;
        var code = TileCode.Get(shape with { Rows = rows }, shape.Outputs);
        byte* data = (byte*)w.Data + (first * layout.Pitch);
        float* sums = stackalloc float[rows * OutputsAtOnce];
        TileArguments* arguments = stackalloc TileArguments[parts];
        for (int part = 0; part < parts; part++)
        {
            KPart at = layout.Part(part * KBlock);
            arguments[part] = layout.Arguments(at, x, xPitch, 0, OutputsAtOnce);
            arguments[part].Weights = data + at.WeightOffset;
            arguments[part].WeightPitch = stream * layout.Pitch;
            arguments[part].Y = sums;

            // While a tile is computed, the weights that come next are asked for: memory and arithmetic are busy at once.
            arguments[part].Ahead = part + 1 < parts ? data + layout.Part((part + 1) * KBlock).WeightOffset : data + layout.Pitch;
        }

        for (int n = 0; n < stream; n++)
        {
            if (n + 1 == stream)
            {
                arguments[parts - 1].Ahead = data + (count * layout.Pitch);
            }

            for (int part = 0; part < parts; part++)
            {
                code(arguments + part);
                arguments[part].Weights += layout.Pitch;
                arguments[part].Ahead += layout.Pitch;
                arguments[part].Y += shape.Outputs;
            }
        }

        for (int row = 0; row < rows; row++, sums += OutputsAtOnce, y += yStride)
        {
            float* to = y;
            for (int output = 0; output < shape.Outputs; output++)
            {
                for (int n = 0; n < stream; n++)
                {
                    *to++ = sums[(n * shape.Outputs) + output];
                }
            }
        }
    }

    // More rows: a K block of these outputs' weights stays in the second cache level, and each tile's rows in the first, while they meet.
    private static void Several(TileWeights w, TileShape shape, int first, int count, byte* x, long xPitch, int rows, float* y, int yStride)
    {
        var layout = TileLayout.Of(w.Source, w.Columns);
        byte* data = (byte*)w.Data + (first * layout.Pitch);

        // The last calls ask for what comes next: the next K block of these outputs, or the outputs behind them.
        int tiles = shape.TilesOf(rows), ahead = RowsAhead(tiles, shape.Outputs), asking = (count + ahead - 1) / ahead;
        for (int k = 0; k < layout.Padded; k += KBlock)
        {
            KPart part = layout.Part(k);
            byte* next = k + KBlock < layout.Padded ? data + layout.Part(k + KBlock).WeightOffset : data + (count * layout.Pitch);
            int call = asking - (tiles * count / shape.Outputs);
            for (int tile = 0; tile < tiles; tile++)
            {
                int row = FirstRow(rows, tile, tiles);
                TileShape some = shape with { Rows = FirstRow(rows, tile + 1, tiles) - row };
                var code = TileCode.Get(some, 0);
                var asks = TileCode.Get(some, ahead);
                TileArguments arguments = layout.Arguments(part, x, xPitch, row, yStride);
                arguments.Weights = data + part.WeightOffset;
                arguments.Y = y + ((long)row * yStride);
                for (int n = 0; n < count; n += shape.Outputs, call++)
                {
                    arguments.Ahead = next + (call * ahead * layout.Pitch);
                    (call < 0 ? code : asks)(&arguments);
                    arguments.Weights += shape.Outputs * layout.Pitch;
                    arguments.Y += shape.Outputs;
                }
            }
        }
    }

    // One output that is left over: a tile whose four rows of weights are the same one.
    private static void Single(TileWeights w, int output, byte* x, long xPitch, int rows, float* y, int yStride)
    {
        float* sums = stackalloc float[TileShape.MostOutputs];
        var layout = TileLayout.Of(w.Source, w.Columns);
        var code = TileCode.Get(new(w.Source, 1, TileShape.MostOutputs), 0);
        for (int row = 0; row < rows; row++)
        {
            for (int k = 0; k < layout.Padded; k += KBlock)
            {
                KPart part = layout.Part(k);
                TileArguments arguments = layout.Arguments(part, x, xPitch, row, yStride);
                arguments.Weights = (byte*)w.Data + (output * layout.Pitch) + part.WeightOffset;
                arguments.WeightPitch = 0;
                arguments.Y = sums;
                code(&arguments);
            }

            y[(long)row * yStride] = sums[0];
        }
    }

    // As many rows in one tile as in another, or one more.
    private static int FirstRow(int rows, int tile, int tiles) => (int)((long)rows * tile / tiles);

    // How many of a tile's next rows of weights each asks for, when so many tiles meet the ones before.
    private static int RowsAhead(int tiles, int outputs) => (outputs + tiles - 1) / tiles;

    /// <summary>Scale and bias of some outputs, where there are any, on the way from <paramref name="from"/> to <paramref name="y"/>, the first of these outputs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Finish(TileWeights w, float* bias, int first, int count, int rows, float* from, int fromStride, float* y, int yStride)
    {
        float* scales = w.Scales == 0 ? null : (float*)w.Scales + first;
        bias = bias is null ? null : bias + first;
        for (int row = 0; row < rows && (scales is not null || bias is not null || from != y); row++, from += fromStride, y += yStride)
        {
            int n = 0;
            for (; n + Vector512<float>.Count <= count; n += Vector512<float>.Count)
            {
                var value = Vector512.Load(from + n);
                value = scales is null ? value : value * Vector512.Load(scales + n);
                value = bias is null ? value : value + Vector512.Load(bias + n);
                value.Store(y + n);
            }

            for (; n < count; n++)
            {
                float value = scales is null ? from[n] : from[n] * scales[n];
                y[n] = bias is null ? value : value + bias[n];
            }
        }
    }
}

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

    /// <summary>From here on rows are many: weights are kept in the second cache level while all rows pass.</summary>
    public const int ManyRows = 64;

    private const int ManyOutputs = 64;

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row.</summary>
    public static void Run(TileWeights w, float* bias, int first, int end, byte* x, long xPitch, int rows, float* y, int yStride)
    {
        bool isMany = rows >= ManyRows;
        int whole = first + ((end - first) / TileEmitter.Outputs * TileEmitter.Outputs);

        // The outputs' scales come from memory too, and are not met before the end.
        for (int n = first; n < end && w.Scales != 0; n += Streams.Line / sizeof(float))
        {
            Streams.Prefetch((byte*)w.Scales + ((long)n * sizeof(float)));
        }

        if (!isMany)
        {
            Few(w, first, whole - first, x, xPitch, rows, y + first, yStride);
        }
        else
        {
            for (int n = first; n < whole; n += ManyOutputs)
            {
                Many(w, n, Math.Min(ManyOutputs, whole - n), x, xPitch, rows, y + n, yStride);
            }
        }

        for (int n = whole; n < end; n++)
        {
            Single(w, n, x, xPitch, rows, y + n, yStride);
        }

        Finish(w, bias, first, end, rows, y, yStride);
    }

    // Outputs first … + count − 1, a multiple of four, and few rows: four rows of weights meet all of them before the next are read.
    [SkipLocalsInit]
    private static void Few(TileWeights w, int first, int count, byte* x, long xPitch, int rows, float* y, int yStride)
    {
        var layout = TileLayout.Of(w.Source, w.Columns);
        int parts = (layout.Padded + KBlock - 1) / KBlock, tiles = TilesOf(rows), ahead = RowsAhead(tiles);
        TileArguments* arguments = stackalloc TileArguments[parts * tiles];
        nint* codes = stackalloc nint[parts * tiles];
        long group = TileEmitter.Outputs * layout.Pitch;
        byte* data = (byte*)w.Data + (first * layout.Pitch);
        for (int i = 0; i < parts * tiles; i++)
        {
            // While a tile is computed, the weights that come next are asked for, some rows of them by each tile: memory and arithmetic are busy at once.
            int part = i / tiles, tile = i % tiles, row = FirstRow(rows, tile, tiles), asked = tile * ahead;
            bool asks = asked < TileEmitter.Outputs;
            KPart at = layout.Part(part * KBlock);
            byte* next = part + 1 < parts ? data + layout.Part((part + 1) * KBlock).WeightOffset : data + group;
            codes[i] = (nint)TileCode.Get(w.Source, FirstRow(rows, tile + 1, tiles) - row, asks ? ahead : 0);
            arguments[i] = layout.Arguments(at, x, xPitch, row, yStride);
            arguments[i].Weights = data + at.WeightOffset;
            arguments[i].Ahead = next + (asks ? asked * layout.Pitch : 0);
            arguments[i].Y = y + ((long)row * yStride);
        }

        for (int n = 0; n < count; n += TileEmitter.Outputs)
        {
            for (int i = 0; i < parts * tiles; i++)
            {
                ((delegate* unmanaged[SuppressGCTransition]<TileArguments*, void>)codes[i])(arguments + i);
                arguments[i].Weights += group;
                arguments[i].Ahead += group;
                arguments[i].Y += TileEmitter.Outputs;
            }
        }
    }

    // Many rows: these outputs' weights, a K block of them, stay in the second cache level while all rows pass.
    private static void Many(TileWeights w, int first, int count, byte* x, long xPitch, int rows, float* y, int yStride)
    {
        var layout = TileLayout.Of(w.Source, w.Columns);
        byte* data = (byte*)w.Data + (first * layout.Pitch);
        int tiles = TilesOf(rows);
        for (int k = 0; k < layout.Padded; k += KBlock)
        {
            KPart part = layout.Part(k);
            for (int tile = 0; tile < tiles; tile++)
            {
                // The first rows meet weights that come from memory.
                int row = FirstRow(rows, tile, tiles);
                var code = TileCode.Get(w.Source, FirstRow(rows, tile + 1, tiles) - row, tile == 0 ? TileEmitter.Outputs : 0);
                TileArguments arguments = layout.Arguments(part, x, xPitch, row, yStride);
                arguments.Weights = data + part.WeightOffset;
                arguments.Y = y + ((long)row * yStride);
                for (int n = 0; n < count; n += TileEmitter.Outputs)
                {
                    arguments.Ahead = arguments.Weights + (TileEmitter.Outputs * layout.Pitch);
                    code(&arguments);
                    arguments.Weights = arguments.Ahead;
                    arguments.Y += TileEmitter.Outputs;
                }
            }
        }
    }

    // One output that is left over: a tile whose four rows of weights are the same one.
    private static void Single(TileWeights w, int output, byte* x, long xPitch, int rows, float* y, int yStride)
    {
        float* sums = stackalloc float[TileEmitter.Outputs];
        var layout = TileLayout.Of(w.Source, w.Columns);
        var code = TileCode.Get(w.Source, 1, 0);
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

    private static int TilesOf(int rows) => (rows + TileEmitter.MaxRows - 1) / TileEmitter.MaxRows;

    // As many rows in one tile as in another, or one more.
    private static int FirstRow(int rows, int tile, int tiles) => (int)((long)rows * tile / tiles);

    // How many of the next four rows of weights a tile asks for, when so many tiles meet the ones before.
    private static int RowsAhead(int tiles) => tiles switch
    {
        1 => 4,
        < 4 => 2,
        _ => 1,
    };

    // Scale and bias of each output, where there are any.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Finish(TileWeights w, float* bias, int first, int end, int rows, float* y, int yStride)
    {
        var scales = (float*)w.Scales;
        for (int row = 0; row < rows && (scales is not null || bias is not null); row++, y += yStride)
        {
            int n = first;
            for (; n + Vector512<float>.Count <= end; n += Vector512<float>.Count)
            {
                var value = Vector512.Load(y + n);
                value = scales is null ? value : value * Vector512.Load(scales + n);
                value = bias is null ? value : value + Vector512.Load(bias + n);
                value.Store(y + n);
            }

            for (; n < end; n++)
            {
                float value = scales is null ? y[n] : y[n] * scales[n];
                y[n] = bias is null ? value : value + bias[n];
            }
        }
    }
}

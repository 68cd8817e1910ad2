using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>A matrix <c>[N, K]</c> as a product by tiles reads it.</summary>
/// <param name="Source">bf16, or codes of either kind.</param>
/// <param name="Data">The first row.</param>
/// <param name="Scales">Of int8: fp32 <c>[N]</c>; of int4: bf16 <c>[N, groups]</c>; otherwise null.</param>
/// <param name="Columns">K.</param>
internal readonly unsafe record struct TileWeights(TileSource Source, nint Data, nint Scales, int Columns);

/// <summary>
/// <c>y = x Wᵀ + b</c> for any number of rows, in bf16 products summed in fp32: memory-bound decoding, short suffixes and long prompts are one loop.
/// </summary>
/// <remarks>
/// Shapes: x <c>[R, K]</c> bf16 as <see cref="TileRows"/> lays it, y <c>[R, N]</c> fp32. K is taken in blocks of <see cref="KBlock"/>, whose sums are added in order.
/// An element of y gives the same bits whatever rows and outputs are computed with it: one token at a time, or a whole prompt.
/// </remarks>
internal static unsafe class TileProduct
{
    /// <summary>Elements of a K block: six rows of activations are then 24 KB, which the first cache level holds.</summary>
    public const int KBlock = 2048;

    /// <summary>From here on rows are many: weights are kept in the second cache level while all rows pass.</summary>
    public const int ManyRows = 64;

    private const int Line = 64;
    private const int ManyOutputs = 64;
    private const int WidenedOutputs = 32;

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row.</summary>
    public static void Run(TileWeights w, float* bias, int first, int end, ushort* x, long xPitch, int rows, float* y, int yStride)
    {
        bool isMany = rows >= ManyRows, isWidened = isMany && w.Source != TileSource.BFloat16;
        int whole = first + ((end - first) / TileEmitter.Outputs * TileEmitter.Outputs);

        // Few rows: the weights of one tile meet all of them before the next are read. One tile's rows and short weights: all outputs in a go.
        int outputs = isWidened ? WidenedOutputs : isMany ? ManyOutputs : rows <= TileEmitter.MaxRows && w.Columns <= KBlock ? Math.Max(whole - first, 1) : TileEmitter.Outputs;
        for (int n = first; n < whole; n += outputs)
        {
            int count = Math.Min(outputs, whole - n);
            if (isWidened)
            {
                Widened(w, n, count, x, xPitch, rows, y + n, yStride);
            }
            else
            {
                Block(w, n, count, x, xPitch, rows, y + n, yStride, isMany);
            }
        }

        for (int n = whole; n < end; n++)
        {
            Single(w, n, x, xPitch, rows, y + n, yStride);
        }

        Finish(w, bias, first, end, rows, y, yStride);
    }

    // Outputs first … + count − 1, a multiple of four, from the weights as they are.
    private static void Block(TileWeights w, int first, int count, ushort* x, long xPitch, int rows, float* y, int yStride, bool isMany)
    {
        var layout = TileLayout.Of(w);
        byte* data = (byte*)w.Data + (first * layout.Pitch);
        byte* scales = (byte*)w.Scales + (first * layout.ScalePitch);

        // While these are computed the next ones are asked for, spread evenly, so that memory and arithmetic are busy at once. Of many rows only the
        // first meet weights that come from memory, and short rows of weights, which follow one another.
        byte* ahead = data + (TileEmitter.Outputs * layout.Pitch);
        long lines = count * layout.Pitch / Line;
        int tiles = (rows + TileEmitter.MaxRows - 1) / TileEmitter.MaxRows;
        long stepsLeft = (long)tiles * (count / TileEmitter.Outputs) * layout.StepsOf(w.Columns);
        for (int k = 0; k < w.Columns; k += KBlock)
        {
            KPart part = layout.Part(w.Columns, k);
            for (int tile = 0, row = 0; tile < tiles; tile++)
            {
                // As many rows in one tile as in another, or one more.
                int rowsEnd = (int)((long)rows * (tile + 1) / tiles);
                int step = isMany ? (tile == 0 && w.Columns <= KBlock ? TileCode.LinesAhead[^1] : 0) : Spread(lines, stepsLeft);
                var code = TileCode.Get(w.Source, rowsEnd - row, step);
                TileArguments arguments = layout.Arguments(part, x, xPitch, row, yStride);
                for (int n = 0; n < count; n += TileEmitter.Outputs)
                {
                    arguments.Weights = data + (n * layout.Pitch) + part.WeightOffset;
                    arguments.Scales = scales + (n * layout.ScalePitch) + part.ScaleOffset;
                    arguments.Y = y + ((long)row * yStride) + n;
                    arguments.Ahead = ahead;
                    code(&arguments);
                    ahead += step * part.Steps * Line;
                    lines -= step * part.Steps;
                    stepsLeft -= part.Steps;
                }

                row = rowsEnd;
            }
        }
    }

    // The same from codes made bf16 first, a K block at a time, since many rows meet them.
    [SkipLocalsInit]
    private static void Widened(TileWeights w, int first, int count, ushort* x, long xPitch, int rows, float* y, int yStride)
    {
        ushort* widened = stackalloc ushort[WidenedOutputs * KBlock];
        var from = TileLayout.Of(w);
        TileSource source = w.Source == TileSource.Int8 ? TileSource.BFloat16 : TileSource.GroupedBFloat16;
        int padded = CodeFormat.Blocks(w.Columns) * CodeFormat.Block;
        int tiles = (rows + TileEmitter.MaxRows - 1) / TileEmitter.MaxRows;
        for (int k = 0; k < padded; k += KBlock)
        {
            int length = Math.Min(KBlock, padded - k);
            for (int n = 0; n < count; n++)
            {
                byte* codes = (byte*)w.Data + ((first + n) * from.Pitch) + from.Part(w.Columns, k).WeightOffset;
                if (w.Source == TileSource.Int8)
                {
                    TileWidening.Int8((sbyte*)codes, length, widened + (n * length));
                }
                else
                {
                    TileWidening.Int4(codes, length / CodeFormat.Block, widened + (n * length));
                }
            }

            var layout = TileLayout.Of(new TileWeights(source, 0, 0, length)) with { ScalePitch = from.ScalePitch };
            KPart part = layout.Part(length, 0) with { ActivationOffset = k, IsFirst = k == 0 };
            byte* scales = (byte*)w.Scales + (first * from.ScalePitch) + from.Part(w.Columns, k).ScaleOffset;
            for (int tile = 0, row = 0; tile < tiles; tile++)
            {
                int rowsEnd = (int)((long)rows * (tile + 1) / tiles);
                var code = TileCode.Get(source, rowsEnd - row, 0);
                TileArguments arguments = layout.Arguments(part, x, xPitch, row, yStride);
                for (int n = 0; n < count; n += TileEmitter.Outputs)
                {
                    arguments.Weights = (byte*)(widened + (n * length));
                    arguments.Scales = scales + (n * layout.ScalePitch);
                    arguments.Y = y + ((long)row * yStride) + n;
                    code(&arguments);
                }

                row = rowsEnd;
            }
        }
    }

    // One output that is left over: a tile whose four rows of weights are the same one.
    private static void Single(TileWeights w, int output, ushort* x, long xPitch, int rows, float* y, int yStride)
    {
        float* sums = stackalloc float[TileEmitter.Outputs];
        var layout = TileLayout.Of(w);
        var code = TileCode.Get(w.Source, 1, 0);
        for (int row = 0; row < rows; row++)
        {
            for (int k = 0; k < w.Columns; k += KBlock)
            {
                KPart part = layout.Part(w.Columns, k);
                TileArguments arguments = layout.Arguments(part, x, xPitch, row, yStride);
                arguments.Weights = (byte*)w.Data + (output * layout.Pitch) + part.WeightOffset;
                arguments.Scales = (byte*)w.Scales + (output * layout.ScalePitch) + part.ScaleOffset;
                arguments.WeightPitch = arguments.ScalePitch = 0;
                arguments.Y = sums;
                code(&arguments);
            }

            y[(long)row * yStride] = sums[0];
        }
    }

    // The smallest number of lines a step that brings all of them in time.
    private static int Spread(long lines, long steps)
    {
        foreach (int each in TileCode.LinesAhead)
        {
            if (each * steps >= lines)
            {
                return each;
            }
        }

        return TileCode.LinesAhead[^1];
    }

    private static void Finish(TileWeights w, float* bias, int first, int end, int rows, float* y, int yStride)
    {
        float* scales = w.Source == TileSource.Int8 ? (float*)w.Scales : null;
        if (scales is null && bias is null)
        {
            return;
        }

        for (int row = 0; row < rows; row++, y += yStride)
        {
            for (int n = first; n < end; n++)
            {
                float value = scales is null ? y[n] : y[n] * scales[n];
                y[n] = bias is null ? value : value + bias[n];
            }
        }
    }
}

using System.Runtime.CompilerServices;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Amx;

/// <summary><c>y = x Wᵀ + b</c> for int4 weights and many rows of bf16, by tiles of sixteen rows and sixteen outputs: a panel is widened to bf16 first, once for all rows.</summary>
/// <remarks>An element of y gives the same bits whatever rows and outputs are computed with it.</remarks>
internal static unsafe class AmxPanelProduct
{
    /// <summary>Outputs that a thread should take at a time.</summary>
    public const int OutputsAtOnce = 64;

    private const int Panel = CodeFormat.Panel;
    private const int Together = 2;
    private const int SquareBytes = Together * Together * AmxShape.TileBytes;

    // Blocks of one part: the widened weights of OutputsAtOnce outputs, and two tiles of rows, stay in the second cache level.
    private const int PartBlocks = 32;
    private const int WidenedPitch = PartBlocks * WideningEmitter.BlockBytes;

    /// <summary>Memory that one thread needs meanwhile: the widened weights of its outputs, and their sums.</summary>
    public static long WorkspaceBytes(int tiles) => (OutputsAtOnce / Panel * (long)WidenedPitch) + (PairsOf(tiles) * (long)PairsOf(OutputsAtOnce / Panel) * SquareBytes) + Streams.Line;

    /// <summary>
    /// Computes outputs <paramref name="first"/>, where a panel begins, … <paramref name="end"/> − 1 of every row; <paramref name="workspace"/> is as large as <see cref="WorkspaceBytes"/> says, undefined.
    /// </summary>
    public static void Run(TileWeights w, float* bias, int first, int end, PaddedRows x, float* y, int yStride, byte* workspace)
    {
        byte* widened = Streams.Aligned(workspace), sums = widened + (OutputsAtOnce / Panel * WidenedPitch);
        long pitch = CodeFormat.PanelBytes(w.Columns);
        int blocks = CodeFormat.Int4Blocks(w.Columns);
        AmxCode.Configure(new(AmxShape.MostRows, AmxShape.RowBytes, AmxShape.RowBytes));
        for (int n = first; n < end; n += OutputsAtOnce)
        {
            int count = Math.Min(OutputsAtOnce, end - n), panels = CodeFormat.Panels(count);
            byte* codes = (byte*)w.Data + (n / Panel * pitch);
            for (int block = 0; block < blocks; block += PartBlocks)
            {
                int some = Math.Min(PartBlocks, blocks - block);
                TileArguments widening = new() { Weights = codes + ((long)block * CodeFormat.Int4BlockBytes), WeightPitch = pitch, Rows = panels, Steps = some, Y = (float*)widened, YPitch = WidenedPitch };

                // What the next outputs read, at the same place.
                widening.Ahead = widening.Weights + (panels * pitch);
                AmxCode.Widening()(&widening);
                Multiply(x, block * CodeFormat.Int4Block, 2 * some, panels, widened, sums);
            }

            Finish(w, bias, n, count, x, sums, y, yStride);
        }

        AmxCode.Release();
    }

    // Adds so many steps of 32 from k on: two tiles of rows and two panels at a time.
    private static void Multiply(PaddedRows x, int k, int steps, int panels, byte* widened, byte* sums)
    {
        TileArguments arguments = new() { WeightPitch = x.Pitch, XPitch = WidenedPitch, YPitch = AmxShape.RowBytes, Adds = k > 0 ? 1u : 0u };
        for (int tile = 0; tile < x.Tiles; tile += Together)
        {
            for (int panel = 0; panel < panels; panel += Together)
            {
                arguments.Weights = x.Row(tile * AmxShape.MostRows) + (k * sizeof(ushort));
                arguments.X = widened + (panel * WidenedPitch);
                arguments.Y = (float*)Square(sums, tile, panel);
                arguments.Steps = steps;
                AmxCode.Product(Math.Min(Together, x.Tiles - tile), Math.Min(Together, panels - panel))(&arguments);
            }
        }
    }

    [SkipLocalsInit]
    private static void Finish(TileWeights w, float* bias, int n, int count, PaddedRows x, byte* sums, float* y, int yStride)
    {
        float* scales = stackalloc float[OutputsAtOnce];
        for (int i = 0; i < count; i++)
        {
            scales[i] = ((float*)w.Scales)[n + i] * WideningEmitter.Scale;
        }

        TileWeights widened = w with { Scales = (nint)scales };
        bias = bias is null ? null : bias + n;
        int panels = CodeFormat.Panels(count);
        for (int tile = 0; tile < x.Tiles; tile++)
        {
            // Panel by panel, whose places in a row of y are neighbours: rows lie pages apart.
            int row = tile * AmxShape.MostRows, rows = Math.Min(AmxShape.MostRows, x.Rows - row);
            for (int panel = 0; panel < panels; panel++)
            {
                int output = panel * Panel, columns = Math.Min(Together, panels - (panel / Together * Together));
                byte* from = Square(sums, tile, panel) + (((tile % Together * columns) + (panel % Together)) * AmxShape.TileBytes);
                TileProduct.Finish(widened, bias, output, Math.Min(Panel, count - output), rows, (float*)from, Panel, y + ((long)row * yStride) + n + output, yStride);
            }
        }
    }

    // The sums of two tiles of rows and two panels lie together.
    private static byte* Square(byte* sums, int tile, int panel) => sums + (((tile / Together * (long)PairsOf(OutputsAtOnce / Panel)) + (panel / Together)) * SquareBytes);

    private static int PairsOf(int count) => (count + Together - 1) / Together;
}

using System.Runtime.CompilerServices;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Panels;

/// <summary><c>y = x Wᵀ + b</c> for int4 weights and any number of rows.</summary>
/// <remarks>An element of y gives the same bits whatever rows and outputs are computed with it: one token at a time, or a whole prompt.</remarks>
/// <typeparam name="TTile">What multiplies some rows and a panel.</typeparam>
internal static unsafe class PanelProduct<TTile>
    where TTile : struct, IPanelTile
{
    private const int Panel = CodeFormat.Panel;
    private const int OutputsAtOnce = PanelShape.OutputsAtOnce;

    // Rows whose outputs stand side by side first: rows of y often lie a power of two apart, where the cache has room for few of them.
    private const int RowsAtOnce = 64;
    private const int NearStride = OutputsAtOnce + (Streams.Line / sizeof(float));

    // Blocks of a part, where several tiles of rows meet the same panels: some rows of it, and a panel's, stay in the first cache level.
    private const int PartBlocks = 16;

    /// <summary>Computes outputs <paramref name="first"/>, where a panel begins, … <paramref name="end"/> − 1 of every row.</summary>
    [SkipLocalsInit]
    public static void Run(TileWeights w, float* bias, int first, int end, GroupRows x, float* y, int yStride)
    {
        Streams.PrefetchScales((float*)w.Scales, first, end);
        if (x.Rows == 1)
        {
            Row(w, bias, first, end, x, y);
            return;
        }

        long pitch = CodeFormat.PanelBytes(w.Columns);
        int blocks = CodeFormat.Int4Blocks(w.Columns), part = x.Rows <= GroupRows.MostWidth ? blocks : PartBlocks;
        float* near = stackalloc float[Math.Min(x.Tiles * GroupRows.MostWidth, RowsAtOnce) * NearStride];
        TileArguments arguments = new() { XPitch = x.Pitch, XScaleBytes = x.ScaleBytes, YPitch = NearStride * sizeof(float) };
        for (int n = first; n < end; n += OutputsAtOnce)
        {
            int count = Math.Min(OutputsAtOnce, end - n);
            for (int row = 0; row < x.Rows; row += RowsAtOnce)
            {
                int some = Math.Min(RowsAtOnce, x.Rows - row);
                for (int block = 0; block < blocks; block += part)
                {
                    arguments.Adds = block > 0 ? 1u : 0u;
                    arguments.Steps = Math.Min(part, blocks - block);
                    byte* panel = (byte*)w.Data + (n / Panel * pitch) + ((long)block * CodeFormat.Int4BlockBytes);
                    for (int output = 0; output < count; output += Panel, panel += pitch)
                    {
                        arguments.Weights = panel;
                        Multiply(x, row, some, 2 * block, &arguments, near + output);
                    }
                }

                TileProduct.Finish(w, bias, n, count, some, near, NearStride, y + ((long)row * yStride) + n, yStride);
            }
        }
    }

    [SkipLocalsInit]
    private static void Row(TileWeights w, float* bias, int first, int end, GroupRows x, float* y)
    {
        long pitch = CodeFormat.PanelBytes(w.Columns);
        int panels = CodeFormat.Panels(end - first);
        float* sums = stackalloc float[OutputsAtOnce];
        TileArguments arguments = new()
        {
            Weights = (byte*)w.Data + (first / Panel * pitch),
            WeightPitch = pitch,
            X = x.At(0, 0),
            XScales = x.At(0, 0) + x.ScalesAt,
            XPitch = x.Pitch,
            XScaleBytes = x.ScaleBytes,
            Steps = CodeFormat.Int4Blocks(w.Columns),
        };
        for (int panel = 0, some; panel < panels; panel += some)
        {
            some = Math.Min(PanelShape.PanelsAtOnce, panels - panel);
            int n = first + (panel * Panel), count = Math.Min(some * Panel, end - n);

            // A panel writes all of its outputs: where they are not all wanted, elsewhere first.
            arguments.Y = count == some * Panel ? y + n : sums;
            TTile.MultiplyRow(some, &arguments);
            TileProduct.Finish(w, bias, n, count, 1, arguments.Y, 0, y + n, 0);
            arguments.Weights += some * pitch;
        }
    }

    // Some rows and one panel, tile by tile of rows.
    private static void Multiply(GroupRows x, int first, int count, int group, TileArguments* arguments, float* y)
    {
        for (int row = 0; row < count; row += GroupRows.MostWidth)
        {
            byte* at = x.At((first + row) / GroupRows.MostWidth, group);
            arguments->X = at;
            arguments->XScales = at + x.ScalesAt;
            arguments->Y = y + (row * NearStride);
            TTile.Multiply(Math.Min(GroupRows.MostWidth, count - row), arguments);
        }
    }
}

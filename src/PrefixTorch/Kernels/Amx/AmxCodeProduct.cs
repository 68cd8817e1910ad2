using System.Runtime.CompilerServices;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Amx;

/// <summary><c>y = x Wᵀ + b</c> for int4 codes and many rows, by tiles of up to sixteen rows and sixteen outputs: the same bits as <see cref="TileProduct"/> gives.</summary>
/// <remarks>Codes of sixteen outputs are turned into a panel, a K block at a time, which all rows meet.</remarks>
internal static unsafe class AmxCodeProduct
{
    /// <summary>From so many rows on it is faster than products by vectors.</summary>
    public const int FewestRows = 48;

    /// <summary>Outputs that a thread should take at a time.</summary>
    public const int OutputsAtOnce = 32;

    /// <summary>Memory that one thread needs meanwhile.</summary>
    public const long WorkspaceBytes = AmxCodePanel.Bytes + AmxCodeEmitter.WorkspaceBytes;

    private const int Outputs = AmxShape.MostRows;

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row; the workspace is as large as said above, aligned, undefined.</summary>
    public static void Run(TileWeights w, float* bias, int first, int end, AmxCodedRows x, float* y, int yStride, byte* workspace)
    {
        AmxCode.Configure(new(x.Width, AmxCodedRows.RowBytes, AmxShape.RowBytes));
        var layout = TileLayout.Of(w.Source, w.Columns);
        for (int n = first; n < end; n += Outputs)
        {
            int outputs = Math.Min(Outputs, end - n);
            for (int k = 0; k < layout.Padded; k += TileProduct.KBlock)
            {
                KPart part = layout.Part(k);
                byte* codes = (byte*)w.Data + (n * layout.Pitch) + part.WeightOffset;
                AmxCodePanel.Fill(codes, layout.Pitch, outputs, part.Steps, workspace);
                Add(part.IsFirst, outputs, x, k / CodedRows.Block, workspace, y + n, yStride);
            }
        }

        AmxCode.Release();
        TileProduct.Finish(w, bias, first, end - first, x.Rows, y + first, yStride, y + first, yStride);
    }

    // A panel and all rows. Those that fill up the last tile go nowhere.
    [SkipLocalsInit]
    private static void Add(bool isFirst, int outputs, AmxCodedRows x, int block, byte* workspace, float* y, int yStride)
    {
        TileArguments arguments = new()
        {
            Weights = workspace,
            Steps = Math.Min(AmxCodeEmitter.MostBlocks, x.Blocks - block),
            TailMask = (1u << outputs) - 1,
            Adds = isFirst ? 0u : 1u,
            YPitch = yStride * (long)sizeof(float),
            Workspace = workspace + AmxCodePanel.Bytes,
        };
        for (int tile = 0; tile < x.Tiles; tile++)
        {
            int row = tile * x.Width;
            arguments.X = x.At(tile, block);
            arguments.Y = y + ((long)row * yStride);
            AmxCode.Codes(Math.Min(x.Width, x.Rows - row))(&arguments);
        }
    }
}

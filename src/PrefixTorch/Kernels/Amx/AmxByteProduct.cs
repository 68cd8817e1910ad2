using System.Runtime.CompilerServices;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Amx;

/// <summary><c>y = x Wᵀ + b</c> for int8 weights and any number of rows, by tiles of sixteen outputs, as they are stored, and up to sixteen rows; a single row by vectors.</summary>
/// <remarks>An element of y gives the same bits whatever rows and outputs are computed with it: one token at a time, or a whole prompt.</remarks>
internal static unsafe class AmxByteProduct
{
    private const int OutputsAtOnce = 64;
    private const int BytesPerBlock = 1 << 17;
    private const int Outputs = AmxShape.MostRows;

    /// <summary>How many outputs a thread should take at a time: of one tile of rows what it streams in a few microseconds, otherwise so many that rows are met often while they are near.</summary>
    public static int OutputsPerBlock(int tiles, long rowBytes) => tiles > 1 ? OutputsAtOnce : (int)Math.Max(Outputs, BytesPerBlock / rowBytes / Outputs * Outputs);

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row, of a matrix of <paramref name="outputs"/>.</summary>
    /// <remarks>Outputs beside these may be written too, with what they are: a tile is whole where the matrix has sixteen rows.</remarks>
    [SkipLocalsInit]
    public static void Run(TileWeights w, int outputs, float* bias, int first, int end, AmxByteRows x, float* y, int yStride)
    {
        if (x.Rows == 1)
        {
            Row(w, bias, first, end, x, y);
            return;
        }

        int rows = Math.Min(Outputs, outputs);
        byte* memory = stackalloc byte[AmxByteEmitter.WorkspaceBytes + AmxShape.TileBytes + Streams.Line];
        var layout = TileLayout.Of(w.Source, w.Columns);
        TileArguments arguments = new() { WeightPitch = layout.Pitch, XPitch = x.Pitch, Steps = x.Steps };
        arguments.Workspace = Streams.Aligned(memory);
        arguments.Y = (float*)(arguments.Workspace + AmxByteEmitter.WorkspaceBytes);
        var code = AmxCode.Bytes();
        AmxCode.Configure(new(rows, AmxShape.RowBytes, x.Pitch));
        for (int n = first; n < end; n += OutputsAtOnce)
        {
            int groupEnd = Math.Min(end, n + OutputsAtOnce);
            for (int tile = 0; tile < x.Tiles; tile++)
            {
                int row = tile * AmxShape.MostRows;
                arguments.X = x.Tile(tile);
                for (int output = n; output < groupEnd; output += Outputs)
                {
                    // The last tile overlaps the one before, also one of another thread's, and gives the same bits again.
                    int at = Math.Max(0, Math.Min(output, groupEnd - rows));
                    arguments.Weights = (byte*)w.Data + (at * layout.Pitch);
                    code(&arguments);
                    AmxTile.Place((byte*)arguments.Y, AmxShape.RowBytes, rows, Math.Min(AmxShape.MostRows, x.Rows - row), (float*)w.Scales + at, bias is null ? null : bias + at, y + ((long)row * yStride) + at, yStride);
                }
            }
        }

        AmxCode.Release();
    }

    // A single row. The sixteen rows of weights that are read side by side are not neighbours but the next ones of as many long streams, where there are some to
    // each: the processor's own prefetching begins anew with every stream.
    [SkipLocalsInit]
    private static void Row(TileWeights w, float* bias, int first, int end, AmxByteRows x, float* y)
    {
        long pitch = TileLayout.Of(w.Source, w.Columns).Pitch;
        float* sums = stackalloc float[Outputs];
        for (int n = first; n < end;)
        {
            int streams = Math.Min(Outputs, end - n), length = Math.Min(OutputsAtOnce, end - n) / streams;
            TileArguments arguments = new() { WeightPitch = length * pitch, X = x.Tile(0), Steps = x.Steps, Y = sums };
            for (int i = 0; i < length; i++)
            {
                arguments.Weights = (byte*)w.Data + ((n + i) * pitch);
                AmxCode.ByteRow(streams)(&arguments);
                for (int stream = 0; stream < streams; stream++)
                {
                    int output = n + (stream * length) + i;
                    float value = sums[stream] * ((float*)w.Scales)[output];
                    y[output] = bias is null ? value : value + bias[output];
                }
            }

            n += streams * length;
        }
    }
}

using System.Runtime.CompilerServices;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Amx;

/// <summary><c>y = x Wᵀ + b</c> for any number of rows of bf16, by tiles of sixteen outputs and up to sixteen rows.</summary>
/// <remarks>
/// <para>Weights are read as they are stored: sixteen rows of them are a tile, so that the sums come out with outputs as rows, and are turned at the end.</para>
/// <para>An element of y gives the same bits whatever rows and outputs are computed with it: one token at a time, or a whole prompt.</para>
/// </remarks>
internal static unsafe class AmxProduct
{
    /// <summary>Outputs that a thread should take at a time.</summary>
    public const int OutputsAtOnce = 64;

    // Columns of k of one part: the weights of OutputsAtOnce outputs, and two tiles of rows, stay in the second cache level.
    private const int KBlock = 2048;

    private const int Rows = AmxShape.MostRows;

    /// <summary>Memory that one thread needs meanwhile: the sums of its outputs.</summary>
    public static long WorkspaceBytes(int tiles) => ((long)OutputsAtOnce / Rows * (tiles + 1) * AmxShape.TileBytes) + AmxShape.RowBytes;

    /// <summary>
    /// Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row, of a matrix of <paramref name="outputs"/>;
    /// <paramref name="workspace"/> is as large as <see cref="WorkspaceBytes"/> says, undefined.
    /// </summary>
    /// <remarks>Outputs beside these may be written too, with what they are: a tile is whole where the matrix has sixteen rows.</remarks>
    public static void Run(TileWeights w, int outputs, float* bias, int first, int end, AmxRows x, float* y, int yStride, byte* workspace)
    {
        if (x.Width == 1)
        {
            Row(w, bias, first, end, x, y);
            return;
        }

        int rows = Math.Min(Rows, outputs);
        AmxCode.Configure(new(rows, AmxShape.RowBytes, (int)x.Pitch));
        for (int n = first; n < end; n += OutputsAtOnce)
        {
            var group = new Group(w, n, Math.Min(OutputsAtOnce, end - n), rows, x, workspace);
            group.Sum();
            group.Finish(bias, y, yStride);
        }

        AmxCode.Release();
    }

    // A single row. The sixteen rows of weights of a tile are not neighbours but the next ones of as many long streams, where there are some to each: the processor's own
    // prefetching begins anew with every stream.
    [SkipLocalsInit]
    private static void Row(TileWeights w, float* bias, int first, int end, AmxRows x, float* y)
    {
        long pitch = (long)w.Columns * sizeof(ushort);
        int whole = w.Columns / AmxTileEmitter.Step, left = w.Columns % AmxTileEmitter.Step;
        float* sums = stackalloc float[Rows];
        byte* padded = stackalloc byte[AmxShape.TileBytes];
        var code = AmxCode.Product(1, 1);
        for (int n = first; n < end;)
        {
            int streams = Math.Min(Rows, end - n), length = Math.Min(OutputsAtOnce, end - n) / streams;
            AmxCode.Configure(new(streams, AmxShape.RowBytes, (int)x.Pitch));
            for (int i = 0; i < length; i++)
            {
                byte* weights = (byte*)w.Data + ((n + i) * pitch);
                TileArguments arguments = new() { Weights = weights, WeightPitch = length * pitch, X = x.At(0, 0), XPitch = x.TilePitch, YPitch = x.Pitch, Steps = whole, Y = sums };
                if (whole > 0)
                {
                    code(&arguments);
                }

                if (left > 0)
                {
                    AmxTile.Pad(weights + ((long)whole * AmxShape.RowBytes), length * pitch, streams, left, padded);
                    arguments.Weights = padded;
                    arguments.WeightPitch = AmxShape.RowBytes;
                    arguments.X = x.At(0, whole * AmxTileEmitter.Step);
                    arguments.Steps = 1;
                    arguments.Adds = whole > 0 ? 1u : 0u;
                    code(&arguments);
                }

                for (int stream = 0; stream < streams; stream++)
                {
                    int output = n + (stream * length) + i;
                    y[output] = bias is null ? sums[stream] : sums[stream] + bias[output];
                }
            }

            n += streams * length;
        }

        AmxCode.Release();
    }

    /// <summary>Outputs that are computed together; their sums lie two by two tiles together.</summary>
    private readonly struct Group(TileWeights w, int n, int count, int rows, AmxRows x, byte* sums)
    {
        private const int Together = 2;

        private int Tiles => AmxShape.TilesOf(count);

        public void Sum()
        {
            // Of one tile of rows all of k is one part, as its sums may stay in their tiles.
            int whole = w.Columns / AmxTileEmitter.Step * AmxTileEmitter.Step, block = x.Tiles == 1 ? Math.Max(whole, 1) : KBlock;
            long pitch = (long)w.Columns * sizeof(ushort);
            for (int k = 0; k < whole; k += block)
            {
                Add((byte*)w.Data + (k * sizeof(ushort)), pitch, false, k, Math.Min(block, whole - k) / AmxTileEmitter.Step);
            }

            if (whole < w.Columns)
            {
                AddTail(whole, pitch);
            }
        }

        public void Finish(float* bias, float* y, int yStride)
        {
            // Tile by tile of outputs, whose places in a row of y are neighbours: rows lie pages apart.
            for (int row = 0; row < x.Rows; row += Rows)
            {
                for (int tile = 0; tile < Tiles; tile++)
                {
                    int output = FirstOutput(tile);
                    AmxTile.Place(Sums(tile, row / Rows), x.Pitch, rows, Math.Min(Rows, x.Rows - row), null, bias is null ? null : bias + output, y + ((long)row * yStride) + output, yStride);
                }
            }
        }

        // The last columns, which fill no step.
        [SkipLocalsInit]
        private void AddTail(int k, long pitch)
        {
            byte* padded = stackalloc byte[OutputsAtOnce / Rows * AmxShape.TileBytes];
            for (int tile = 0; tile < Tiles; tile++)
            {
                AmxTile.Pad((byte*)w.Data + (FirstOutput(tile) * pitch) + (k * sizeof(ushort)), pitch, rows, w.Columns - k, padded + (tile * AmxShape.TileBytes));
            }

            Add(padded, AmxShape.RowBytes, true, k, 1);
        }

        // Adds so many steps from k on. Weights are a matrix's rows, or lie tile by tile.
        private void Add(byte* weights, long pitch, bool isByTile, int k, int steps)
        {
            TileArguments arguments = new() { WeightPitch = pitch, XPitch = x.TilePitch, YPitch = x.Pitch, Adds = k > 0 ? 1u : 0u };
            for (int column = 0; column < x.Tiles; column += Together)
            {
                int columns = Math.Min(Together, x.Tiles - column);
                for (int tile = 0, some; tile < Tiles; tile += some)
                {
                    some = tile % Together == 0 && tile + 1 < Tiles && FirstOutput(tile + 1) == FirstOutput(tile) + Rows ? Together : 1;
                    arguments.Weights = weights + (isByTile ? tile * AmxShape.TileBytes : FirstOutput(tile) * pitch);
                    arguments.X = x.At(column, k);
                    arguments.Y = (float*)Sums(tile, column);
                    arguments.Steps = steps;
                    AmxCode.Product(some, columns)(&arguments);
                }
            }
        }

        // The last tile overlaps the one before, also one of another thread's, and gives the same bits again.
        private int FirstOutput(int tile) => Math.Max(0, Math.Min(n + (tile * Rows), n + count - rows));

        private byte* Sums(int tile, int column)
        {
            int pair = column / Together, columns = Math.Min(Together, x.Tiles - (pair * Together));
            long square = (((tile / Together * ((x.Tiles + 1L) / Together)) + pair) * Together * Together) + (tile % Together * columns) + (column % Together);
            return sums + (square * AmxShape.TileBytes);
        }
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>How a product of several rows is cut: the same for every instruction set.</summary>
/// <remarks>
/// A tile is four rows of <c>x</c> by three of <c>W</c>: twelve sums, three registers of weights and one of <c>x</c> are the sixteen registers of AVX2,
/// and where there are thirty-two, larger tiles were slower. Over a block of columns four rows of <c>x</c> stay in the first level of the cache, and
/// the widened weights of a group of outputs in the second, from where three rows stream past.
/// </remarks>
internal static class ProductShape
{
    /// <summary>Rows of <c>x</c> in a tile.</summary>
    public const int Rows = 4;

    /// <summary>Outputs of a tile.</summary>
    public const int Outputs = 3;

    /// <summary>Outputs that are widened together.</summary>
    public const int Group = 48;

    /// <summary>Columns of a block.</summary>
    public const int Columns = 1024;

    /// <summary>Tiles over so many rows.</summary>
    public static int Tiles(int rows) => (rows + Rows - 1) / Rows;

    /// <summary>Memory that one thread needs meanwhile.</summary>
    public static long WorkspaceBytes(int rows) => sizeof(float) * ((Group * Columns) + ((long)Group / Outputs * Tiles(rows) * Rows * Outputs * Vector512<float>.Count));
}

/// <summary>
/// <c>y = x Wᵀ + b</c> for several rows of <c>x</c> in fp32, bound by arithmetic: weights are widened once for all rows, on their way into the cache.
/// </summary>
/// <remarks>
/// Shapes: x <c>[M, K]</c> fp32, W <c>[N, K]</c> as stored, y <c>[M, N]</c> fp32, all row-major. Registers run along <c>k</c>, and the sums of a tile rest in
/// memory between blocks of columns: every element of <c>y</c> is the chain that <see cref="LinearKernel{TVectors, TVector, TElement}"/> computes, bit for
/// bit, however many rows there are and however the matrix is cut.
/// </remarks>
internal static unsafe class BlockedProduct<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    private const int Line = Streams.Line;

    /// <summary>
    /// Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row, a group at most; <paramref name="workspace"/> is as large as
    /// <see cref="ProductShape.WorkspaceBytes"/> says, aligned, undefined.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(byte* weight, float* bias, int columns, int first, int end, float* x, int xStride, int rows, float* y, int yStride, byte* workspace)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(end, first + ProductShape.Group);
        float* panels = (float*)workspace, sums = panels + (ProductShape.Group * ProductShape.Columns);
        int tiles = ProductShape.Tiles(rows);
        long pitch = (long)columns * TElement.Size;
        Tile tile = default;
        tile.XStride = xStride;
        tile.YStride = yStride;
        for (int k = 0; k < columns; k += ProductShape.Columns)
        {
            tile.Count = Math.Min(ProductShape.Columns, columns - k);
            tile.IsFirst = k == 0;
            tile.IsLast = k + tile.Count == columns;

            // Every tile asks for its share of the weights in the next columns, so that memory works while the tiles are computed.
            int nextK = k + tile.Count;
            long bytes = (long)Math.Min(ProductShape.Columns, columns - nextK) * TElement.Size, share = (bytes / Line + tiles - 1) / tiles * Line, asked = 0;
            for (int row = 0; row < rows; row += ProductShape.Rows, asked += share)
            {
                tile.Rows = Math.Min(ProductShape.Rows, rows - row);
                tile.X = x + (long)row * xStride + k;
                tile.Panel = panels;
                tile.Sums = sums + (long)row * ProductShape.Outputs * TVectors.Width;
                for (int n = first; n < end; n += ProductShape.Outputs)
                {
                    tile.Outputs = Math.Min(ProductShape.Outputs, end - n);
                    tile.Bias = bias is null ? null : bias + n;
                    tile.Y = y + (long)row * yStride + n;
                    byte* w = weight + (n * pitch), w1 = w + (Math.Min(1, tile.Outputs - 1) * pitch), w2 = w + ((tile.Outputs - 1) * pitch);
                    long at = (long)k * TElement.Size, nextAt = (long)nextK * TElement.Size;
                    Prefetch(w + nextAt, w1 + nextAt, w2 + nextAt, asked, Math.Min(bytes, asked + share));
                    if (row == 0)
                    {
                        Multiply<FirstRows>(tile, w + at, w1 + at, w2 + at);
                    }
                    else
                    {
                        Multiply<LaterRows>(tile, null, null, null);
                    }

                    tile.Panel += ProductShape.Outputs * ProductShape.Columns;
                    tile.Sums += (long)tiles * ProductShape.Rows * ProductShape.Outputs * TVectors.Width;
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* w0, byte* w1, byte* w2, long from, long to)
    {
        for (; from < to; from += Line)
        {
            Streams.Prefetch(w0 + from);
            Streams.Prefetch(w1 + from);
            Streams.Prefetch(w2 + from);
        }
    }

    /// <summary>One tile over one block of columns.</summary>
    /// <remarks>
    /// The first rows read weights as they are stored, and leave them widened in the panel: register by register in the order in which later rows
    /// read them, so that one stream comes from the cache. Rows and outputs beyond the last are the last ones again.
    /// </remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply<TPass>(in Tile tile, byte* w0, byte* w1, byte* w2)
    {
        float* x0 = tile.X, x1 = x0 + tile.XStride * Math.Min(1, tile.Rows - 1), x2 = x0 + tile.XStride * Math.Min(2, tile.Rows - 1);
        float* x3 = x0 + tile.XStride * (tile.Rows - 1), panel = tile.Panel, sums = tile.Sums;
        TVector s00, s01, s02, s10, s11, s12, s20, s21, s22, s30, s31, s32;
        if (tile.IsFirst)
        {
            s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = TVectors.Broadcast(0);
        }
        else
        {
            s00 = TVectors.Load(sums);
            s01 = TVectors.Load(sums + TVectors.Width);
            s02 = TVectors.Load(sums + 2 * TVectors.Width);
            s10 = TVectors.Load(sums + 3 * TVectors.Width);
            s11 = TVectors.Load(sums + 4 * TVectors.Width);
            s12 = TVectors.Load(sums + 5 * TVectors.Width);
            s20 = TVectors.Load(sums + 6 * TVectors.Width);
            s21 = TVectors.Load(sums + 7 * TVectors.Width);
            s22 = TVectors.Load(sums + 8 * TVectors.Width);
            s30 = TVectors.Load(sums + 9 * TVectors.Width);
            s31 = TVectors.Load(sums + 10 * TVectors.Width);
            s32 = TVectors.Load(sums + 11 * TVectors.Width);
        }

        int count = tile.Count, whole = count & -TVectors.Width;
        for (int k = 0; k < whole; k += TVectors.Width)
        {
            TVector a0, a1, a2;
            if (typeof(TPass) == typeof(FirstRows))
            {
                a0 = TElement.Load<TVectors, TVector>(w0 + (long)k * TElement.Size);
                a1 = TElement.Load<TVectors, TVector>(w1 + (long)k * TElement.Size);
                a2 = TElement.Load<TVectors, TVector>(w2 + (long)k * TElement.Size);
                TVectors.Store(a0, panel);
                TVectors.Store(a1, panel + TVectors.Width);
                TVectors.Store(a2, panel + 2 * TVectors.Width);
            }
            else
            {
                a0 = TVectors.Load(panel);
                a1 = TVectors.Load(panel + TVectors.Width);
                a2 = TVectors.Load(panel + 2 * TVectors.Width);
            }

            panel += 3 * TVectors.Width;
            TVector v = TVectors.Load(x0 + k);
            s00 = TVectors.MultiplyAdd(a0, v, s00);
            s01 = TVectors.MultiplyAdd(a1, v, s01);
            s02 = TVectors.MultiplyAdd(a2, v, s02);
            v = TVectors.Load(x1 + k);
            s10 = TVectors.MultiplyAdd(a0, v, s10);
            s11 = TVectors.MultiplyAdd(a1, v, s11);
            s12 = TVectors.MultiplyAdd(a2, v, s12);
            v = TVectors.Load(x2 + k);
            s20 = TVectors.MultiplyAdd(a0, v, s20);
            s21 = TVectors.MultiplyAdd(a1, v, s21);
            s22 = TVectors.MultiplyAdd(a2, v, s22);
            v = TVectors.Load(x3 + k);
            s30 = TVectors.MultiplyAdd(a0, v, s30);
            s31 = TVectors.MultiplyAdd(a1, v, s31);
            s32 = TVectors.MultiplyAdd(a2, v, s32);
        }

        if (tile.IsLast)
        {
            // Before anything is called that could ask for their registers in the loop.
            Vector128<float> y0 = TVectors.Sums(s00, s10, s20, s30), y1 = TVectors.Sums(s01, s11, s21, s31), y2 = TVectors.Sums(s02, s12, s22, s32);

            // What is left of a row, less than a register, stands behind the panel.
            int tail = count - whole;
            if (typeof(TPass) == typeof(FirstRows))
            {
                for (int i = 0; i < tail; i++)
                {
                    panel[i] = TElement.Load(w0 + (long)(whole + i) * TElement.Size);
                    panel[tail + i] = TElement.Load(w1 + (long)(whole + i) * TElement.Size);
                    panel[2 * tail + i] = TElement.Load(w2 + (long)(whole + i) * TElement.Size);
                }
            }

            Finish(tile, 0, y0, panel, whole);
            Finish(tile, Math.Min(1, tile.Outputs - 1), y1, panel + tail, whole);
            Finish(tile, tile.Outputs - 1, y2, panel + 2 * tail, whole);
        }
        else
        {
            TVectors.Store(s00, sums);
            TVectors.Store(s01, sums + TVectors.Width);
            TVectors.Store(s02, sums + 2 * TVectors.Width);
            TVectors.Store(s10, sums + 3 * TVectors.Width);
            TVectors.Store(s11, sums + 4 * TVectors.Width);
            TVectors.Store(s12, sums + 5 * TVectors.Width);
            TVectors.Store(s20, sums + 6 * TVectors.Width);
            TVectors.Store(s21, sums + 7 * TVectors.Width);
            TVectors.Store(s22, sums + 8 * TVectors.Width);
            TVectors.Store(s30, sums + 9 * TVectors.Width);
            TVectors.Store(s31, sums + 10 * TVectors.Width);
            TVectors.Store(s32, sums + 11 * TVectors.Width);
        }
    }

    // One output of every row.
    private static void Finish(in Tile tile, int output, Vector128<float> sums, float* weights, int k)
    {
        for (int row = 0; row < tile.Rows; row++)
        {
            float sum = sums[row];
            float* x = tile.X + row * tile.XStride + k;
            for (int i = 0; i < tile.Count - k; i++)
            {
                sum += weights[i] * x[i];
            }

            tile.Y[row * tile.YStride + output] = tile.Bias is null ? sum : sum + tile.Bias[output];
        }
    }

    /// <summary>What a tile reads and writes.</summary>
    private struct Tile
    {
        public float* X;
        public long XStride;
        public int Rows;
        public int Outputs;
        public float* Panel;
        public int Count;
        public float* Sums;
        public bool IsFirst;
        public bool IsLast;
        public float* Bias;
        public float* Y;
        public long YStride;
    }

    /// <summary>Marks the pass that widens the weights.</summary>
    private readonly struct FirstRows;

    /// <summary>Marks the passes over widened weights.</summary>
    private readonly struct LaterRows;
}

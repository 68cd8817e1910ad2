using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>How a product of several rows is cut: the same for every instruction set.</summary>
/// <remarks>
/// Over a block of columns four rows of <c>x</c> stay in the first level of the cache, and the widened weights of a group of outputs in the second, from
/// where three rows stream past (<see cref="FourByThree{TVectors, TVector, TElement}"/>).
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
        ProductTile tile = default;
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
                        FourByThree<TVectors, TVector, TElement>.Multiply<FirstRows>(tile, w + at, w1 + at, w2 + at);
                    }
                    else
                    {
                        FourByThree<TVectors, TVector, TElement>.Multiply<LaterRows>(tile, null, null, null);
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
}

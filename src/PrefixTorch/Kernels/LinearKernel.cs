using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>How a product of few rows is cut: the same for every instruction set.</summary>
internal static class LinearShape
{
    /// <summary>Outputs whose weights stay near while all rows meet them: whole tiles, of three and of four.</summary>
    public const int Group = 12;

    /// <summary>Fewer outputs than a tile has are computed one by one.</summary>
    public const int FewestTogether = 4;
}

/// <summary>
/// <c>y = x Wᵀ + b</c> for few rows of <c>x</c>: what decoding spends its time in, bound by the memory that <c>W</c> streams from.
/// </summary>
/// <remarks>
/// Shapes: x <c>[R, K]</c> fp32, W <c>[N, K]</c> as stored, y <c>[R, N]</c> fp32, all row-major. Every element of <c>y</c> is one chain of
/// multiply-adds in the order of <c>k</c>, whatever rows stand beside it: a row gives the same bits alone and in a batch. Weights are widened again for
/// every four rows, which costs little while memory or the products themselves are slower; beyond <see cref="MostRows"/> they are widened once, by
/// <see cref="BlockedProduct{TVectors, TVector, TElement}"/>.
/// </remarks>
internal static unsafe class LinearKernel<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    /// <summary>Up to so many rows this is the faster kernel: few, where it takes many steps to widen a weight and sixteen registers are too few to share it among more rows.</summary>
    public static int MostRows => TVectors.Width == Vectors512.Width || TElement.IsQuicklyWidened ? 16 : 4;

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row.</summary>
    [SkipLocalsInit]
    public static void Run(byte* weight, float* bias, int columns, int first, int end, float* x, int xStride, int rows, float* y, int yStride)
    {
        long pitch = (long)columns * TElement.Size, ahead = Streams.Ahead(pitch);
        if (end - first < LinearShape.FewestTogether)
        {
            for (int n = first; n < end; n++)
            {
                for (int r = 0; r < rows; r++)
                {
                    One(TileAt(n, r));
                }
            }

            return;
        }

        // Several rows meet all columns at once: their panel needs room only for what is left of three rows of the matrix.
        float* rest = stackalloc float[ProductShape.Outputs * Vector512<float>.Count];
        ProductTile several = new() { XStride = xStride, YStride = yStride, Outputs = ProductShape.Outputs, Count = columns, Panel = rest, Ahead = ahead };
        for (int group = first; group < end; group += LinearShape.Group)
        {
            // A tile that would go beyond the end overlaps the one before, whose outputs then get the same bits again.
            int groupEnd = Math.Min(end, group + LinearShape.Group), r = 0;
            for (; rows - r >= 3; r += ProductShape.Rows)
            {
                several.Rows = Math.Min(ProductShape.Rows, rows - r);
                several.X = x + ((long)r * xStride);
                for (int n = group; n < groupEnd; n += ProductShape.Outputs)
                {
                    int at = Math.Min(n, end - ProductShape.Outputs);
                    byte* w = weight + (at * pitch);
                    several.Bias = bias is null ? null : bias + at;
                    several.Y = y + ((long)r * yStride) + at;
                    FourByThree<TVectors, TVector, TElement>.Multiply<OnlyRows>(several, w, w + pitch, w + (2 * pitch));
                }
            }

            for (int n = group; n < groupEnd && r < rows; n += 4)
            {
                if (rows - r == 2)
                {
                    TwoByFour(TileAt(Math.Min(n, end - 4), r));
                }
                else
                {
                    OneByFour(TileAt(Math.Min(n, end - 4), r));
                }
            }
        }

        Tile TileAt(int output, int row) => new(weight, bias, columns, pitch, ahead, output, x + ((long)row * xStride), xStride, y + ((long)row * yStride) + output, yStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One(in Tile tile)
    {
        byte* w = tile.Weights;
        float* x = tile.X;
        TVector sum = TVectors.Broadcast(0);
        int k = 0;
        for (; k + TVectors.Width <= tile.Columns; k += TVectors.Width)
        {
            sum = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(w + ((long)k * TElement.Size)), TVectors.Load(x + k), sum);
        }

        Finish(tile, 0, 1, k, TVectors.Sums(sum, sum, sum, sum));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneByFour(in Tile tile)
    {
        long pitch = tile.Pitch, ahead = tile.Ahead;
        byte* w0 = tile.Weights, w1 = w0 + pitch, w2 = w1 + pitch, w3 = w2 + pitch;
        float* x = tile.X;
        TVector s0 = TVectors.Broadcast(0), s1 = s0, s2 = s0, s3 = s0;
        int k = 0, columns = tile.Columns;
        for (; k + TVectors.Width <= columns; k += TVectors.Width)
        {
            long at = (long)k * TElement.Size;
            Streams.Prefetch(w0, w1, w2, w3, at, ahead);
            TVector v = TVectors.Load(x + k);
            s0 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(w0 + at), v, s0);
            s1 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(w1 + at), v, s1);
            s2 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(w2 + at), v, s2);
            s3 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(w3 + at), v, s3);
        }

        Finish(tile, 0, 4, k, TVectors.Sums(s0, s1, s2, s3));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TwoByFour(in Tile tile)
    {
        long pitch = tile.Pitch, ahead = tile.Ahead;
        byte* w0 = tile.Weights, w1 = w0 + pitch, w2 = w1 + pitch, w3 = w2 + pitch;
        float* x0 = tile.X, x1 = x0 + tile.XStride;
        TVector zero = TVectors.Broadcast(0), s00 = zero, s01 = zero, s02 = zero, s03 = zero, s10 = zero, s11 = zero, s12 = zero, s13 = zero;
        int k = 0, columns = tile.Columns;
        for (; k + TVectors.Width <= columns; k += TVectors.Width)
        {
            long at = (long)k * TElement.Size;
            Streams.Prefetch(w0, w1, w2, w3, at, ahead);
            TVector v0 = TVectors.Load(x0 + k), v1 = TVectors.Load(x1 + k);
            TVector a = TElement.Load<TVectors, TVector>(w0 + at);
            s00 = TVectors.MultiplyAdd(a, v0, s00);
            s10 = TVectors.MultiplyAdd(a, v1, s10);
            a = TElement.Load<TVectors, TVector>(w1 + at);
            s01 = TVectors.MultiplyAdd(a, v0, s01);
            s11 = TVectors.MultiplyAdd(a, v1, s11);
            a = TElement.Load<TVectors, TVector>(w2 + at);
            s02 = TVectors.MultiplyAdd(a, v0, s02);
            s12 = TVectors.MultiplyAdd(a, v1, s12);
            a = TElement.Load<TVectors, TVector>(w3 + at);
            s03 = TVectors.MultiplyAdd(a, v0, s03);
            s13 = TVectors.MultiplyAdd(a, v1, s13);
        }

        // Before anything is called, or the loop would keep them in memory.
        Vector128<float> y0 = TVectors.Sums(s00, s01, s02, s03), y1 = TVectors.Sums(s10, s11, s12, s13);
        Finish(tile, 0, 4, k, y0);
        Finish(tile, 1, 4, k, y1);
    }

    // A row's outputs: what is left of K from column k on, less than a register, and the bias.
    private static void Finish(in Tile tile, int row, int outputs, int k, Vector128<float> sums)
    {
        float* x = tile.X + (row * tile.XStride), y = tile.Y + (row * tile.YStride);
        for (int n = 0; n < outputs; n++)
        {
            float sum = sums[n];
            byte* w = tile.Weights + (n * tile.Pitch);
            for (int i = k; i < tile.Columns; i++)
            {
                sum += TElement.Load(w + ((long)i * TElement.Size)) * x[i];
            }

            y[n] = tile.Bias is null ? sum : sum + tile.Bias[n];
        }
    }

    /// <summary>Some rows and outputs: where the first of either stands.</summary>
    private readonly struct Tile(byte* weight, float* bias, int columns, long pitch, long ahead, int output, float* x, int xStride, float* y, int yStride)
    {
        public readonly int Columns = columns;
        public readonly long Pitch = pitch;
        public readonly long Ahead = ahead;
        public readonly byte* Weights = weight + (output * pitch);
        public readonly float* Bias = bias is null ? null : bias + output;
        public readonly float* X = x;
        public readonly long XStride = xStride;
        public readonly float* Y = y;
        public readonly long YStride = yStride;
    }
}

using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>
/// <c>y = x Wᵀ + b</c> for few rows of <c>x</c>: what decoding spends its time in, bound by the memory that <c>W</c> streams from.
/// </summary>
/// <remarks>
/// Shapes: x <c>[R, K]</c> fp32, W <c>[N, K]</c> as stored, y <c>[R, N]</c> fp32, all row-major. Every element of <c>y</c> is one chain of
/// multiply-adds in the order of <c>k</c>, whatever rows stand beside it: a row gives the same bits alone and in a batch. Weights are widened again for
/// every four rows, which costs little while memory is slower; beyond <see cref="MostRows"/> they are widened once, by
/// <see cref="BlockedProduct{TVectors, TVector, TElement}"/>.
/// </remarks>
internal static unsafe class LinearKernel<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    /// <summary>
    /// Up to so many rows this is the faster kernel: with the thirty-two registers of AVX-512 for a whole step of few rows; elsewhere four by four
    /// sums spill, and weights meet one row at a time.
    /// </summary>
    public static int MostRows => TVectors.Width == Vectors512.Width ? 16 : 3;

    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row.</summary>
    public static void Run(byte* weight, float* bias, int columns, int first, int end, float* x, int xStride, int rows, float* y, int yStride)
    {
        long pitch = (long)columns * TElement.Size;
        int n = first;
        for (; n + 4 <= end; n += 4)
        {
            byte* w = weight + n * pitch;
            float* b = bias is null ? null : bias + n;
            int r = 0;
            for (; r + 4 <= rows; r += 4)
            {
                FourByFour(w, pitch, b, columns, x + (long)r * xStride, xStride, y + (long)r * yStride + n, yStride);
            }

            for (; r < rows; r++)
            {
                OneByFour(w, pitch, b, columns, x + (long)r * xStride, y + (long)r * yStride + n);
            }
        }

        for (; n < end; n++)
        {
            for (int r = 0; r < rows; r++)
            {
                float sum = Dot(weight + n * pitch, columns, x + (long)r * xStride);
                y[(long)r * yStride + n] = bias is null ? sum : sum + bias[n];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Dot(byte* w, int columns, float* x)
    {
        TVector sum = TVectors.Broadcast(0);
        int k = 0;
        for (; k + TVectors.Width <= columns; k += TVectors.Width)
        {
            sum = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(w + (long)k * TElement.Size), TVectors.Load(x + k), sum);
        }

        return Tail(TVectors.Sum(sum), w, x, k, columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneByFour(byte* w, long pitch, float* bias, int columns, float* x, float* y)
    {
        byte* w0 = w, w1 = w + pitch, w2 = w1 + pitch, w3 = w2 + pitch;
        TVector s0 = TVectors.Broadcast(0), s1 = s0, s2 = s0, s3 = s0;
        long ahead = Streams.Ahead(pitch);
        int k = 0;
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

        Finish(s0, s1, s2, s3, w, pitch, bias, x, k, columns, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByFour(byte* w, long pitch, float* bias, int columns, float* x, int xStride, float* y, int yStride)
    {
        byte* w0 = w, w1 = w + pitch, w2 = w1 + pitch, w3 = w2 + pitch;
        float* x0 = x, x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
        TVector zero = TVectors.Broadcast(0);
        TVector s00 = zero, s01 = zero, s02 = zero, s03 = zero;
        TVector s10 = zero, s11 = zero, s12 = zero, s13 = zero;
        TVector s20 = zero, s21 = zero, s22 = zero, s23 = zero;
        TVector s30 = zero, s31 = zero, s32 = zero, s33 = zero;
        long ahead = Streams.Ahead(pitch);
        int k = 0;
        for (; k + TVectors.Width <= columns; k += TVectors.Width)
        {
            long at = (long)k * TElement.Size;
            Streams.Prefetch(w0, w1, w2, w3, at, ahead);
            TVector a0 = TElement.Load<TVectors, TVector>(w0 + at), a1 = TElement.Load<TVectors, TVector>(w1 + at);
            TVector a2 = TElement.Load<TVectors, TVector>(w2 + at), a3 = TElement.Load<TVectors, TVector>(w3 + at);
            TVector v = TVectors.Load(x0 + k);
            s00 = TVectors.MultiplyAdd(a0, v, s00);
            s01 = TVectors.MultiplyAdd(a1, v, s01);
            s02 = TVectors.MultiplyAdd(a2, v, s02);
            s03 = TVectors.MultiplyAdd(a3, v, s03);
            v = TVectors.Load(x1 + k);
            s10 = TVectors.MultiplyAdd(a0, v, s10);
            s11 = TVectors.MultiplyAdd(a1, v, s11);
            s12 = TVectors.MultiplyAdd(a2, v, s12);
            s13 = TVectors.MultiplyAdd(a3, v, s13);
            v = TVectors.Load(x2 + k);
            s20 = TVectors.MultiplyAdd(a0, v, s20);
            s21 = TVectors.MultiplyAdd(a1, v, s21);
            s22 = TVectors.MultiplyAdd(a2, v, s22);
            s23 = TVectors.MultiplyAdd(a3, v, s23);
            v = TVectors.Load(x3 + k);
            s30 = TVectors.MultiplyAdd(a0, v, s30);
            s31 = TVectors.MultiplyAdd(a1, v, s31);
            s32 = TVectors.MultiplyAdd(a2, v, s32);
            s33 = TVectors.MultiplyAdd(a3, v, s33);
        }

        Finish(s00, s01, s02, s03, w, pitch, bias, x0, k, columns, y);
        Finish(s10, s11, s12, s13, w, pitch, bias, x1, k, columns, y + yStride);
        Finish(s20, s21, s22, s23, w, pitch, bias, x2, k, columns, y + 2L * yStride);
        Finish(s30, s31, s32, s33, w, pitch, bias, x3, k, columns, y + 3L * yStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(TVector s0, TVector s1, TVector s2, TVector s3, byte* w, long pitch, float* bias, float* x, int k, int columns, float* y)
    {
        y[0] = Tail(TVectors.Sum(s0), w, x, k, columns);
        y[1] = Tail(TVectors.Sum(s1), w + pitch, x, k, columns);
        y[2] = Tail(TVectors.Sum(s2), w + 2 * pitch, x, k, columns);
        y[3] = Tail(TVectors.Sum(s3), w + 3 * pitch, x, k, columns);
        if (bias is not null)
        {
            y[0] += bias[0];
            y[1] += bias[1];
            y[2] += bias[2];
            y[3] += bias[3];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Tail(float sum, byte* w, float* x, int k, int columns)
    {
        for (; k < columns; k++)
        {
            sum += TElement.Load(w + (long)k * TElement.Size) * x[k];
        }

        return sum;
    }
}

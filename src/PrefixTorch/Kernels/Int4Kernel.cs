using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary><c>y = x Wᵀ + b</c> for few rows and int4 weights, and their widening; see <see cref="Int4Format"/>.</summary>
/// <remarks>As in <see cref="LinearKernel{TVectors, TVector, TElement}"/> a row gives the same bits alone and in a batch.</remarks>
internal static unsafe class Int4Kernel<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>Computes outputs <paramref name="first"/> … <paramref name="end"/> − 1 of every row.</summary>
    public static void Run(byte* codes, uint* numbers, float* bias, int columns, int first, int end, float* x, int xStride, int rows, float* y, int yStride)
    {
        int groups = columns / Int4Format.Group;
        for (int n = first; n < end; n += 4)
        {
            // The last four overlap the ones before, which then get the same bits twice.
            int at = Math.Min(n, Math.Max(first, end - 4));
            int count = Math.Min(4, end - at);
            byte* w = codes + (long)at * groups * Int4Format.GroupBytes;
            uint* s = numbers + (long)at * groups;
            float* b = bias is null ? null : bias + at;
            int r = 0;
            if (count == 4)
            {
                for (; r + 4 <= rows; r += 4)
                {
                    FourByFour(w, s, b, groups, x + (long)r * xStride, xStride, y + (long)r * yStride + at, yStride);
                }

                for (; r < rows; r++)
                {
                    OneByFour(w, s, b, groups, x + (long)r * xStride, y + (long)r * yStride + at);
                }
            }
            else
            {
                for (; r < rows; r++)
                {
                    for (int i = 0; i < count; i++)
                    {
                        float sum = Dot(w + (long)i * groups * Int4Format.GroupBytes, s + (long)i * groups, groups, x + (long)r * xStride);
                        y[(long)r * yStride + at + i] = b is null ? sum : sum + b[i];
                    }
                }
            }
        }
    }

    /// <summary>One row of weights as floats of another type, <c>[K]</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen<TTo>(byte* codes, uint* numbers, int columns, byte* to)
        where TTo : struct, IElement
    {
        for (int g = 0; g < columns / Int4Format.Group; g++, codes += Int4Format.GroupBytes, to += Int4Format.Group * TTo.Size)
        {
            TVector scale = Scale(numbers[g]), minimum = Minimum(numbers[g]);
            for (int i = 0; i < Int4Format.GroupBytes; i += TVectors.Width)
            {
                TVector lower = TVectors.LoadInt4Lower(codes + i, scale, minimum), upper = TVectors.LoadInt4Upper(codes + i, scale, minimum);
                TTo.Store<TVectors, TVector>(lower, to + i * TTo.Size);
                TTo.Store<TVectors, TVector>(upper, to + (i + Int4Format.GroupBytes) * TTo.Size);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Scale(uint pair) => TVectors.Broadcast(BitConverter.UInt32BitsToSingle(pair << 16));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Minimum(uint pair) => TVectors.Broadcast(BitConverter.UInt32BitsToSingle(pair & 0xffff0000));

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Dot(byte* w, uint* numbers, int groups, float* x)
    {
        TVector sum = TVectors.Broadcast(0);
        for (int g = 0; g < groups; g++, w += Int4Format.GroupBytes, x += Int4Format.Group)
        {
            TVector scale = Scale(numbers[g]), minimum = Minimum(numbers[g]);
            for (int i = 0; i < Int4Format.GroupBytes; i += TVectors.Width)
            {
                TVector lower = TVectors.LoadInt4Lower(w + i, scale, minimum), upper = TVectors.LoadInt4Upper(w + i, scale, minimum);
                sum = TVectors.MultiplyAdd(lower, TVectors.Load(x + i), sum);
                sum = TVectors.MultiplyAdd(upper, TVectors.Load(x + i + Int4Format.GroupBytes), sum);
            }
        }

        return TVectors.Sum(sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneByFour(byte* w, uint* numbers, float* bias, int groups, float* x, float* y)
    {
        long pitch = (long)groups * Int4Format.GroupBytes;
        byte* w0 = w, w1 = w + pitch, w2 = w1 + pitch, w3 = w2 + pitch;
        float* n0 = stackalloc float[8 * groups], n1 = n0 + 2 * groups, n2 = n1 + 2 * groups, n3 = n2 + 2 * groups;
        WidenNumbers(numbers, 4 * groups, n0);
        long ahead = Streams.Ahead(pitch);
        TVector s0 = TVectors.Broadcast(0), s1 = s0, s2 = s0, s3 = s0;
        for (int g = 0; g < groups; g++)
        {
            Streams.Prefetch(w, w + pitch, w + 2 * pitch, w + 3 * pitch, (long)g * Int4Format.GroupBytes, ahead);
            TVector c0 = TVectors.Broadcast(n0[2 * g]), m0 = TVectors.Broadcast(n0[2 * g + 1]);
            TVector c1 = TVectors.Broadcast(n1[2 * g]), m1 = TVectors.Broadcast(n1[2 * g + 1]);
            TVector c2 = TVectors.Broadcast(n2[2 * g]), m2 = TVectors.Broadcast(n2[2 * g + 1]);
            TVector c3 = TVectors.Broadcast(n3[2 * g]), m3 = TVectors.Broadcast(n3[2 * g + 1]);
            for (int i = 0; i < Int4Format.GroupBytes; i += TVectors.Width)
            {
                TVector v = TVectors.Load(x + i), u = TVectors.Load(x + i + Int4Format.GroupBytes);
                TVector lower = TVectors.LoadInt4Lower(w0 + i, c0, m0), upper = TVectors.LoadInt4Upper(w0 + i, c0, m0);
                s0 = TVectors.MultiplyAdd(upper, u, TVectors.MultiplyAdd(lower, v, s0));
                lower = TVectors.LoadInt4Lower(w1 + i, c1, m1);
                upper = TVectors.LoadInt4Upper(w1 + i, c1, m1);
                s1 = TVectors.MultiplyAdd(upper, u, TVectors.MultiplyAdd(lower, v, s1));
                lower = TVectors.LoadInt4Lower(w2 + i, c2, m2);
                upper = TVectors.LoadInt4Upper(w2 + i, c2, m2);
                s2 = TVectors.MultiplyAdd(upper, u, TVectors.MultiplyAdd(lower, v, s2));
                lower = TVectors.LoadInt4Lower(w3 + i, c3, m3);
                upper = TVectors.LoadInt4Upper(w3 + i, c3, m3);
                s3 = TVectors.MultiplyAdd(upper, u, TVectors.MultiplyAdd(lower, v, s3));
            }

            w0 += Int4Format.GroupBytes;
            w1 += Int4Format.GroupBytes;
            w2 += Int4Format.GroupBytes;
            w3 += Int4Format.GroupBytes;
            x += Int4Format.Group;
        }

        Finish(s0, s1, s2, s3, bias, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByFour(byte* w, uint* numbers, float* bias, int groups, float* x, int xStride, float* y, int yStride)
    {
        long pitch = (long)groups * Int4Format.GroupBytes;
        byte* w0 = w, w1 = w + pitch, w2 = w1 + pitch, w3 = w2 + pitch;
        float* n0 = stackalloc float[8 * groups], n1 = n0 + 2 * groups, n2 = n1 + 2 * groups, n3 = n2 + 2 * groups;
        WidenNumbers(numbers, 4 * groups, n0);
        long ahead = Streams.Ahead(pitch);
        float* x0 = x, x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
        TVector zero = TVectors.Broadcast(0);
        TVector s00 = zero, s01 = zero, s02 = zero, s03 = zero;
        TVector s10 = zero, s11 = zero, s12 = zero, s13 = zero;
        TVector s20 = zero, s21 = zero, s22 = zero, s23 = zero;
        TVector s30 = zero, s31 = zero, s32 = zero, s33 = zero;
        for (int g = 0; g < groups; g++)
        {
            Streams.Prefetch(w, w + pitch, w + 2 * pitch, w + 3 * pitch, (long)g * Int4Format.GroupBytes, ahead);
            TVector c0 = TVectors.Broadcast(n0[2 * g]), m0 = TVectors.Broadcast(n0[2 * g + 1]);
            TVector c1 = TVectors.Broadcast(n1[2 * g]), m1 = TVectors.Broadcast(n1[2 * g + 1]);
            TVector c2 = TVectors.Broadcast(n2[2 * g]), m2 = TVectors.Broadcast(n2[2 * g + 1]);
            TVector c3 = TVectors.Broadcast(n3[2 * g]), m3 = TVectors.Broadcast(n3[2 * g + 1]);
            for (int i = 0; i < Int4Format.GroupBytes; i += TVectors.Width)
            {
                TVector l0 = TVectors.LoadInt4Lower(w0 + i, c0, m0), u0 = TVectors.LoadInt4Upper(w0 + i, c0, m0);
                TVector l1 = TVectors.LoadInt4Lower(w1 + i, c1, m1), u1 = TVectors.LoadInt4Upper(w1 + i, c1, m1);
                TVector l2 = TVectors.LoadInt4Lower(w2 + i, c2, m2), u2 = TVectors.LoadInt4Upper(w2 + i, c2, m2);
                TVector l3 = TVectors.LoadInt4Lower(w3 + i, c3, m3), u3 = TVectors.LoadInt4Upper(w3 + i, c3, m3);
                TVector v = TVectors.Load(x0 + i), u = TVectors.Load(x0 + i + Int4Format.GroupBytes);
                s00 = TVectors.MultiplyAdd(u0, u, TVectors.MultiplyAdd(l0, v, s00));
                s01 = TVectors.MultiplyAdd(u1, u, TVectors.MultiplyAdd(l1, v, s01));
                s02 = TVectors.MultiplyAdd(u2, u, TVectors.MultiplyAdd(l2, v, s02));
                s03 = TVectors.MultiplyAdd(u3, u, TVectors.MultiplyAdd(l3, v, s03));
                v = TVectors.Load(x1 + i);
                u = TVectors.Load(x1 + i + Int4Format.GroupBytes);
                s10 = TVectors.MultiplyAdd(u0, u, TVectors.MultiplyAdd(l0, v, s10));
                s11 = TVectors.MultiplyAdd(u1, u, TVectors.MultiplyAdd(l1, v, s11));
                s12 = TVectors.MultiplyAdd(u2, u, TVectors.MultiplyAdd(l2, v, s12));
                s13 = TVectors.MultiplyAdd(u3, u, TVectors.MultiplyAdd(l3, v, s13));
                v = TVectors.Load(x2 + i);
                u = TVectors.Load(x2 + i + Int4Format.GroupBytes);
                s20 = TVectors.MultiplyAdd(u0, u, TVectors.MultiplyAdd(l0, v, s20));
                s21 = TVectors.MultiplyAdd(u1, u, TVectors.MultiplyAdd(l1, v, s21));
                s22 = TVectors.MultiplyAdd(u2, u, TVectors.MultiplyAdd(l2, v, s22));
                s23 = TVectors.MultiplyAdd(u3, u, TVectors.MultiplyAdd(l3, v, s23));
                v = TVectors.Load(x3 + i);
                u = TVectors.Load(x3 + i + Int4Format.GroupBytes);
                s30 = TVectors.MultiplyAdd(u0, u, TVectors.MultiplyAdd(l0, v, s30));
                s31 = TVectors.MultiplyAdd(u1, u, TVectors.MultiplyAdd(l1, v, s31));
                s32 = TVectors.MultiplyAdd(u2, u, TVectors.MultiplyAdd(l2, v, s32));
                s33 = TVectors.MultiplyAdd(u3, u, TVectors.MultiplyAdd(l3, v, s33));
            }

            w0 += Int4Format.GroupBytes;
            w1 += Int4Format.GroupBytes;
            w2 += Int4Format.GroupBytes;
            w3 += Int4Format.GroupBytes;
            x0 += Int4Format.Group;
            x1 += Int4Format.Group;
            x2 += Int4Format.Group;
            x3 += Int4Format.Group;
        }

        Finish(s00, s01, s02, s03, bias, y);
        Finish(s10, s11, s12, s13, bias, y + yStride);
        Finish(s20, s21, s22, s23, bias, y + 2L * yStride);
        Finish(s30, s31, s32, s33, bias, y + 3L * yStride);
    }

    // Scales and minima of whole rows at once, so that the loop only broadcasts from memory: bf16 pairs to floats.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WidenNumbers(uint* numbers, int count, float* to)
    {
        var from = (ushort*)numbers;
        int i = 0;
        for (; i + TVectors.Width <= 2 * count; i += TVectors.Width)
        {
            TVectors.Store(TVectors.LoadBFloat16(from + i), to + i);
        }

        for (; i < 2 * count; i++)
        {
            to[i] = BFloat16Element.Load((byte*)(from + i));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(TVector s0, TVector s1, TVector s2, TVector s3, float* bias, float* y)
    {
        y[0] = TVectors.Sum(s0);
        y[1] = TVectors.Sum(s1);
        y[2] = TVectors.Sum(s2);
        y[3] = TVectors.Sum(s3);
        if (bias is not null)
        {
            y[0] += bias[0];
            y[1] += bias[1];
            y[2] += bias[2];
            y[3] += bias[3];
        }
    }
}

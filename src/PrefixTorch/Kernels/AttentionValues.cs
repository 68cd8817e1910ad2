using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>Sums of values, weighted by each query's weights, four queries at a time; in pieces of a block, one after another.</summary>
internal static unsafe class AttentionValues<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    /// <summary>Values of a piece that is widened to floats: they stay in the first cache level.</summary>
    public const int Rows = 32;

    // A lane holds two neighbours of bf16, which come apart in fewer steps than are needed to have them in order.
    private static bool ArePairs => typeof(TElement) == typeof(BFloat16Element);

    /// <summary>
    /// Adds <paramref name="rows"/> values, each of which lies where <paramref name="values"/> says, and the first of which is the block's <paramref name="start"/>th, to every query's sums, which
    /// stand behind its partial result's first two numbers and begin with the block's first. Weights of one query begin <paramref name="pitch"/> floats after those of the one before.
    /// bf16 comes all at once.
    /// </summary>
    public static void Run(byte** values, int start, int rows, AttentionQuery* queries, int count, int headDim, float* weights, int pitch)
    {
        bool isFirst = start == 0;
        for (int i = 0; i < count; i += 4, queries += 4, weights += 4 * pitch)
        {
            int last = Math.Min(4, count - i) - 1, shared = 0;
            if (last > 0)
            {
                // Together as far as all of them see, and each on its own from there. Queries beyond the last are the last one again.
                int third = Math.Min(2, last);
                shared = Math.Min(Math.Min(queries[0].Limit, queries[1].Limit), Math.Min(queries[third].Limit, queries[last].Limit));
                shared = Math.Clamp(shared - start, 0, rows);
                if (shared > 0)
                {
                    Four(
                        values, shared, headDim, isFirst, weights, weights + pitch, weights + third * pitch, weights + last * pitch,
                        queries[0].Partial + 2, queries[1].Partial + 2, queries[third].Partial + 2, queries[last].Partial + 2);
                    for (int query = 0; query <= last && ArePairs; query++)
                    {
                        Order(queries[query].Partial + 2, headDim);
                    }
                }
            }

            for (int query = 0; query <= last; query++)
            {
                int end = Math.Min(rows, queries[query].Limit - start);
                if (end > shared)
                {
                    One(values + shared, end - shared, 0, headDim, isFirst && shared == 0, weights + query * pitch + shared, queries[query].Partial + 2);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four(
        byte** values, int rows, int headDim, bool isFirst, float* w0, float* w1, float* w2, float* w3, float* to0, float* to1, float* to2, float* to3)
    {
        int d = 0;
        for (; d + 2 * TVectors.Width <= headDim; d += 2 * TVectors.Width)
        {
            TVector s00, s01, s10, s11, s20, s21, s30, s31;
            if (isFirst)
            {
                s00 = s01 = s10 = s11 = s20 = s21 = s30 = s31 = TVectors.Broadcast(0);
            }
            else
            {
                s00 = TVectors.Load(to0 + d);
                s01 = TVectors.Load(to0 + d + TVectors.Width);
                s10 = TVectors.Load(to1 + d);
                s11 = TVectors.Load(to1 + d + TVectors.Width);
                s20 = TVectors.Load(to2 + d);
                s21 = TVectors.Load(to2 + d + TVectors.Width);
                s30 = TVectors.Load(to3 + d);
                s31 = TVectors.Load(to3 + d + TVectors.Width);
            }

            long at = (long)d * TElement.Size;
            for (int j = 0; j < rows; j++)
            {
                byte* value = values[j] + at;
                LoadTwo(value, out TVector v0, out TVector v1);
                TVector w = TVectors.Broadcast(w0[j]);
                s00 = TVectors.MultiplyAdd(v0, w, s00);
                s01 = TVectors.MultiplyAdd(v1, w, s01);
                w = TVectors.Broadcast(w1[j]);
                s10 = TVectors.MultiplyAdd(v0, w, s10);
                s11 = TVectors.MultiplyAdd(v1, w, s11);
                w = TVectors.Broadcast(w2[j]);
                s20 = TVectors.MultiplyAdd(v0, w, s20);
                s21 = TVectors.MultiplyAdd(v1, w, s21);
                w = TVectors.Broadcast(w3[j]);
                s30 = TVectors.MultiplyAdd(v0, w, s30);
                s31 = TVectors.MultiplyAdd(v1, w, s31);
            }

            TVectors.Store(s00, to0 + d);
            TVectors.Store(s01, to0 + d + TVectors.Width);
            TVectors.Store(s10, to1 + d);
            TVectors.Store(s11, to1 + d + TVectors.Width);
            TVectors.Store(s20, to2 + d);
            TVectors.Store(s21, to2 + d + TVectors.Width);
            TVectors.Store(s30, to3 + d);
            TVectors.Store(s31, to3 + d + TVectors.Width);
        }

        if (d < headDim)
        {
            One(values, rows, d, headDim, isFirst, w0, to0);
            One(values, rows, d, headDim, isFirst, w1, to1);
            if (to2 != to1)
            {
                One(values, rows, d, headDim, isFirst, w2, to2);
            }

            if (to3 != to2)
            {
                One(values, rows, d, headDim, isFirst, w3, to3);
            }
        }
    }

    // Two registers of numbers that lie side by side: those of pairs in even and then in odd places.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadTwo(byte* value, out TVector first, out TVector second)
    {
        if (ArePairs)
        {
            TVector pairs = TVectors.Load((float*)value);
            (first, second) = (TVectors.LowHalves(pairs), TVectors.HighHalves(pairs));
        }
        else
        {
            (first, second) = (TElement.Load<TVectors, TVector>(value), TElement.Load<TVectors, TVector>(value + (TVectors.Width * TElement.Size)));
        }
    }

    // Of each two registers the numbers of even places and then those of odd ones: in order again.
    [SkipLocalsInit]
    private static void Order(float* numbers, int headDim)
    {
        uint* two = stackalloc uint[2 * TVectors.Width];
        for (int d = 0; d + 2 * TVectors.Width <= headDim; d += 2 * TVectors.Width, numbers += 2 * TVectors.Width)
        {
            TVectors.Store(TVectors.Load(numbers), (float*)two);
            TVectors.Store(TVectors.Load(numbers + TVectors.Width), (float*)two + TVectors.Width);
            for (int i = 0; i < TVectors.Width; i += Vector128<uint>.Count)
            {
                Vector128<uint> even = Vector128.Load(two + i), odd = Vector128.Load(two + TVectors.Width + i);
                (Vector128.WidenLower(even) | (Vector128.WidenLower(odd) << 32)).Store((ulong*)(numbers + 2 * i));
                (Vector128.WidenUpper(even) | (Vector128.WidenUpper(odd) << 32)).Store((ulong*)(numbers + 2 * i + Vector128<uint>.Count));
            }
        }
    }

    // One query, from dimension d on.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One(byte** values, int rows, int d, int headDim, bool isFirst, float* weights, float* to)
    {
        for (; d + 2 * TVectors.Width <= headDim; d += 2 * TVectors.Width)
        {
            TVector s0 = isFirst ? TVectors.Broadcast(0) : TVectors.Load(to + d), s1 = isFirst ? s0 : TVectors.Load(to + d + TVectors.Width);
            for (int j = 0; j < rows; j++)
            {
                byte* value = values[j] + ((long)d * TElement.Size);
                TVector w = TVectors.Broadcast(weights[j]);
                s0 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(value), w, s0);
                s1 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(value + (TVectors.Width * TElement.Size)), w, s1);
            }

            TVectors.Store(s0, to + d);
            TVectors.Store(s1, to + d + TVectors.Width);
        }

        for (; d + TVectors.Width <= headDim; d += TVectors.Width)
        {
            TVector sum = isFirst ? TVectors.Broadcast(0) : TVectors.Load(to + d);
            for (int j = 0; j < rows; j++)
            {
                sum = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(values[j] + ((long)d * TElement.Size)), TVectors.Broadcast(weights[j]), sum);
            }

            TVectors.Store(sum, to + d);
        }

        for (; d < headDim; d++)
        {
            float sum = isFirst ? 0 : to[d];
            for (int j = 0; j < rows; j++)
            {
                sum += TElement.Load(values[j] + ((long)d * TElement.Size)) * weights[j];
            }

            to[d] = sum;
        }
    }
}

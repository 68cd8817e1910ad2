using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>
/// Keys and values of one head that lie together: <see cref="Count"/> rows of <c>D</c> elements at each pointer, and where the elements are 8-bit
/// integers, as many scales; otherwise null.
/// </summary>
internal unsafe struct KeyValueRun
{
    public byte* Keys;
    public byte* Values;
    public float* KeyScales;
    public float* ValueScales;
    public int Count;
}

/// <summary>
/// Attention of single queries over one block of keys, and the exact merge of blocks: softmax over all keys is the sum of the blocks'
/// results weighted by their log-sum-exp (Milakov and Gimelshein 2018; Dao et al. 2022).
/// </summary>
/// <remarks>
/// A block is a fixed range of absolute positions, its keys taken in order, and blocks are merged in order. What a query gives
/// depends on nothing else: not on the rows beside it, nor on how the past is cut into segments.
/// A partial result is <c>[max, sum, acc(D)]</c>, with <c>acc = Σ e^(s−max) v</c>.
/// A row's scale is met once, not at every element: the key's by the score, the value's by the weight.
/// </remarks>
internal static unsafe class AttentionKernel<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    /// <summary>
    /// One query (already scaled by 1/√D) against the first <paramref name="limit"/> keys of the block.
    /// <paramref name="scores"/> is scratch for that many floats, rounded up to a register's width.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Partial(float* query, KeyValueRun* runs, int limit, int headDim, float* scores, float* partial)
    {
        int pitch = headDim * TElement.Size;
        KeyValueRun* run = runs;
        int done = 0;
        while (done < limit)
        {
            int count = Math.Min(run->Count, limit - done);
            Scores(query, run->Keys, count, headDim, pitch, scores + done);
            Scale(scores + done, run->KeyScales, count);
            done += count;
            run++;
        }

        int padded = (limit + TVectors.Width - 1) / TVectors.Width * TVectors.Width;
        for (int i = limit; i < padded; i++)
        {
            scores[i] = float.NegativeInfinity;
        }

        float max = Exponentials(scores, padded, out float sum);
        partial[0] = max;
        partial[1] = sum;
        done = 0;
        for (run = runs; done < limit; run++)
        {
            Scale(scores + done, run->ValueScales, Math.Min(run->Count, limit - done));
            done += run->Count;
        }

        Accumulate(runs, limit, headDim, pitch, scores, partial + 2);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scores(float* query, byte* keys, int count, int headDim, int pitch, float* scores)
    {
        int j = 0;
        for (; j + 4 <= count; j += 4)
        {
            byte* k0 = keys + (long)j * pitch, k1 = k0 + pitch, k2 = k1 + pitch, k3 = k2 + pitch;
            TVector s0 = TVectors.Broadcast(0), s1 = s0, s2 = s0, s3 = s0;
            int d = 0;
            for (; d + TVectors.Width <= headDim; d += TVectors.Width)
            {
                TVector q = TVectors.Load(query + d);
                int at = d * TElement.Size;
                s0 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(k0 + at), q, s0);
                s1 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(k1 + at), q, s1);
                s2 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(k2 + at), q, s2);
                s3 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(k3 + at), q, s3);
            }

            TVectors.Sums(s0, s1, s2, s3).Store(scores + j);
            if (d < headDim)
            {
                scores[j] = Tail(scores[j], query, k0, d, headDim);
                scores[j + 1] = Tail(scores[j + 1], query, k1, d, headDim);
                scores[j + 2] = Tail(scores[j + 2], query, k2, d, headDim);
                scores[j + 3] = Tail(scores[j + 3], query, k3, d, headDim);
            }
        }

        for (; j < count; j++)
        {
            byte* key = keys + (long)j * pitch;
            TVector s = TVectors.Broadcast(0);
            int d = 0;
            for (; d + TVectors.Width <= headDim; d += TVectors.Width)
            {
                s = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(key + d * TElement.Size), TVectors.Load(query + d), s);
            }

            scores[j] = Tail(TVectors.Sum(s), query, key, d, headDim);
        }
    }

    // Each number by its own scale: the same bits wherever a run begins.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scale(float* numbers, float* scales, int count)
    {
        if (scales == null)
        {
            return;
        }

        int i = 0;
        for (; i + TVectors.Width <= count; i += TVectors.Width)
        {
            TVectors.Store(TVectors.Multiply(TVectors.Load(numbers + i), TVectors.Load(scales + i)), numbers + i);
        }

        for (; i < count; i++)
        {
            numbers[i] *= scales[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Tail(float sum, float* query, byte* key, int d, int headDim)
    {
        for (; d < headDim; d++)
        {
            sum += TElement.Load(key + d * TElement.Size) * query[d];
        }

        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Exponentials(float* scores, int padded, out float sum)
    {
        // Lane by lane, then over the lanes: a maximum is the same in any order.
        TVector maxima = TVectors.Load(scores);
        for (int i = TVectors.Width; i < padded; i += TVectors.Width)
        {
            maxima = TVectors.Max(maxima, TVectors.Load(scores + i));
        }

        float* lanes = stackalloc float[TVectors.Width];
        TVectors.Store(maxima, lanes);
        float max = lanes[0];
        for (int i = 1; i < TVectors.Width; i++)
        {
            max = MathF.Max(max, lanes[i]);
        }

        TVector shift = TVectors.Broadcast(max), sums = TVectors.Broadcast(0);
        for (int i = 0; i < padded; i += TVectors.Width)
        {
            TVector e = TVectors.Exp(TVectors.Subtract(TVectors.Load(scores + i), shift));
            TVectors.Store(e, scores + i);
            sums = TVectors.Add(sums, e);
        }

        sum = TVectors.Sum(sums);
        return max;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Accumulate(KeyValueRun* runs, int limit, int headDim, int pitch, float* weights, float* to)
    {
        int d = 0;
        for (; d + 4 * TVectors.Width <= headDim; d += 4 * TVectors.Width)
        {
            TVector a0 = TVectors.Broadcast(0), a1 = a0, a2 = a0, a3 = a0;
            int step = TVectors.Width * TElement.Size, done = 0;
            for (KeyValueRun* run = runs; done < limit; run++)
            {
                int count = Math.Min(run->Count, limit - done);
                byte* value = run->Values + (long)d * TElement.Size;
                for (int j = 0; j < count; j++, value += pitch)
                {
                    TVector w = TVectors.Broadcast(weights[done + j]);
                    a0 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(value), w, a0);
                    a1 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(value + step), w, a1);
                    a2 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(value + 2 * step), w, a2);
                    a3 = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(value + 3 * step), w, a3);
                }

                done += count;
            }

            TVectors.Store(a0, to + d);
            TVectors.Store(a1, to + d + TVectors.Width);
            TVectors.Store(a2, to + d + 2 * TVectors.Width);
            TVectors.Store(a3, to + d + 3 * TVectors.Width);
        }

        for (; d + TVectors.Width <= headDim; d += TVectors.Width)
        {
            TVector a = TVectors.Broadcast(0);
            int done = 0;
            for (KeyValueRun* run = runs; done < limit; run++)
            {
                int count = Math.Min(run->Count, limit - done);
                byte* value = run->Values + (long)d * TElement.Size;
                for (int j = 0; j < count; j++, value += pitch)
                {
                    a = TVectors.MultiplyAdd(TElement.Load<TVectors, TVector>(value), TVectors.Broadcast(weights[done + j]), a);
                }

                done += count;
            }

            TVectors.Store(a, to + d);
        }

        for (; d < headDim; d++)
        {
            float a = 0;
            int done = 0;
            for (KeyValueRun* run = runs; done < limit; run++)
            {
                int count = Math.Min(run->Count, limit - done);
                for (int j = 0; j < count; j++)
                {
                    a += TElement.Load(run->Values + (long)j * pitch + (long)d * TElement.Size) * weights[done + j];
                }

                done += count;
            }

            to[d] = a;
        }
    }
}

/// <summary>The merge of partial results; see <see cref="AttentionKernel{TVectors, TVector, TElement}"/>.</summary>
internal static unsafe class AttentionMerge<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>Merges <paramref name="count"/> partials that lie <paramref name="stride"/> floats apart, in order, into <c>[D]</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(float* partials, long stride, int count, int headDim, float* to)
    {
        float max = partials[0];
        for (int i = 1; i < count; i++)
        {
            max = MathF.Max(max, partials[i * stride]);
        }

        float sum = 0;
        new Span<float>(to, headDim).Clear();
        for (int i = 0; i < count; i++)
        {
            float* partial = partials + i * stride;
            float weight = MathF.Exp(partial[0] - max);
            sum += partial[1] * weight;
            TVector weights = TVectors.Broadcast(weight);
            int d = 0;
            for (; d + TVectors.Width <= headDim; d += TVectors.Width)
            {
                TVectors.Store(TVectors.MultiplyAdd(TVectors.Load(partial + 2 + d), weights, TVectors.Load(to + d)), to + d);
            }

            for (; d < headDim; d++)
            {
                to[d] += partial[2 + d] * weight;
            }
        }

        for (int d = 0; d < headDim; d++)
        {
            to[d] /= sum;
        }
    }
}

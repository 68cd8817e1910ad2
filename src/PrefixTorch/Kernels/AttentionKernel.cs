using System.Runtime.CompilerServices;

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

    /// <summary>Where each key lies, or each value, so that what follows knows nothing of runs.</summary>
    public static void Rows(KeyValueRun* run, int limit, int pitch, bool areValues, byte** rows)
    {
        for (int done = 0; done < limit; run++)
        {
            byte* row = areValues ? run->Values : run->Keys;
            for (int end = Math.Min(limit, done + run->Count); done < end; done++, row += pitch)
            {
                rows[done] = row;
            }
        }
    }

    /// <summary>The scales of the first <paramref name="limit"/> keys, or values, side by side. False where there are none.</summary>
    public static bool Scales(KeyValueRun* run, int limit, bool areValues, float* to)
    {
        if (run->KeyScales == null)
        {
            return false;
        }

        for (int done = 0; done < limit; done += run->Count, run++)
        {
            int count = Math.Min(run->Count, limit - done);
            new ReadOnlySpan<float>(areValues ? run->ValueScales : run->KeyScales, count).CopyTo(new Span<float>(to + done, count));
        }

        return true;
    }
}

/// <summary>A query, already scaled by 1/√D, that meets the first <see cref="Limit"/> keys of a block, and where its partial result goes.</summary>
internal unsafe struct AttentionQuery
{
    /// <summary>Queries that may be given at once: their scores stay in the second cache level.</summary>
    public const int Most = 64;

    public float* Values;
    public float* Partial;
    public int Limit;

    /// <summary>How far the furthest of so many queries sees.</summary>
    public static int Furthest(AttentionQuery* queries, int count)
    {
        int limit = 0;
        for (int i = 0; i < count; i++)
        {
            limit = Math.Max(limit, queries[i].Limit);
        }

        return limit;
    }
}

/// <summary>
/// Attention of queries over one block of keys, and the exact merge of blocks: softmax over all keys is the sum of the blocks'
/// results weighted by their log-sum-exp (Milakov and Gimelshein 2018; Dao et al. 2022).
/// </summary>
/// <remarks>
/// A block is a fixed range of absolute positions, its keys taken in order, and blocks are merged in order. What a query gives
/// depends on nothing else: not on the queries beside it, nor on how the past is cut into segments. A score is summed up dimension by dimension, an
/// element of the result key by key, whatever tile they are in.
/// A partial result is <c>[max, sum, acc(D)]</c>, with <c>acc = Σ e^(s−max) v</c>.
/// A row's scale is met once, not at every element: the key's by the score, the value's by the weight.
/// </remarks>
internal static unsafe class AttentionKernel<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    private const int Piece = AttentionValues<TVectors, TVector, TElement>.Rows;

    /// <summary><paramref name="count"/> queries, at most <see cref="AttentionQuery.Most"/>, against the block that lies in <paramref name="runs"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization), SkipLocalsInit]
    public static void Partials(KeyValueRun* runs, AttentionQuery* queries, int count, int headDim)
    {
        int limit = AttentionQuery.Furthest(queries, count);
        byte** keys = stackalloc byte*[2 * limit], values = keys + limit;
        KeyValueRun.Rows(runs, limit, headDim * TElement.Size, areValues: false, keys);
        KeyValueRun.Rows(runs, limit, headDim * TElement.Size, areValues: true, values);

        int panelKeys = AttentionScores<TVectors, TVector, TElement>.Keys, pitch = Padded(limit);
        float* panel = stackalloc float[headDim * Math.Max(panelKeys, Piece)], scores = stackalloc float[count * pitch];
        for (int key = 0; key < limit; key += panelKeys)
        {
            int now = Math.Min(panelKeys, limit - key);
            if (AttentionScores<TVectors, TVector, TElement>.InPairs(count, headDim))
            {
                KeyPanel<Float32Element>.Fill(keys + key, now, headDim / 2, panel, panelKeys, ahead: 0);
            }
            else
            {
                KeyPanel<TElement>.Fill(keys + key, now, headDim, panel, panelKeys, ahead: 0);
            }

            // The next keys mostly lie behind these, also those of the next block.
            byte* nextKeys = keys[key] + (long)panelKeys * headDim * TElement.Size;
            AttentionScores<TVectors, TVector, TElement>.Run(panel, headDim, queries, count, scores + key, pitch, nextKeys, values[key]);
        }

        float* scales = stackalloc float[2 * limit];
        bool isScaled = KeyValueRun.Scales(runs, limit, areValues: false, scales) && KeyValueRun.Scales(runs, limit, areValues: true, scales + limit);
        for (int i = 0; i < count; i++)
        {
            Weights(scores + i * pitch, isScaled ? scales : null, isScaled ? scales + limit : null, queries[i]);
        }

        if (TElement.IsQuicklyWidened)
        {
            AttentionValues<TVectors, TVector, TElement>.Run(values, 0, limit, queries, count, headDim, scores, pitch);
            return;
        }

        for (int row = 0; row < limit; row += Piece)
        {
            int rows = Math.Min(Piece, limit - row);
            Widen(values + row, rows, headDim, panel);
            AttentionValues<TVectors, TVector, Float32Element>.Run(values + row, row, rows, queries, count, headDim, scores + row, pitch);
        }
    }

    // Values are found where they then stand.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Widen(byte** values, int rows, int headDim, float* to)
    {
        for (int row = 0; row < rows; row++, to += headDim)
        {
            RowKernels<TVectors, TVector>.Convert<TElement, Float32Element>(values[row], (byte*)to, headDim);
            values[row] = (byte*)to;
        }
    }

    // Room for scores of so many keys: of whole panels, and of as many registers as exponentials are taken of at once.
    private static int Padded(int limit) => (limit + 4 * TVectors.Width - 1) / (4 * TVectors.Width) * (4 * TVectors.Width);

    // Scores to weights, their maximum and sum to the partial result. Up to where its room ends, scores beyond the limit are overwritten.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weights(float* scores, float* keyScales, float* valueScales, in AttentionQuery query)
    {
        int limit = query.Limit, padded = Padded(limit);
        Scale(scores, keyScales, limit);
        for (int i = limit; i < padded; i++)
        {
            scores[i] = float.NegativeInfinity;
        }

        query.Partial[0] = Exponentials(scores, padded, out query.Partial[1]);
        Scale(scores, valueScales, limit);
    }

    /// <summary>Each number by its own scale, where there are scales.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Scale(float* numbers, float* scales, int count)
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

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Exponentials(float* scores, int padded, out float sum)
    {
        // In two chains, then over the lanes: a maximum is the same in any order.
        TVector even = TVectors.Load(scores), odd = TVectors.Load(scores + TVectors.Width);
        for (int i = 2 * TVectors.Width; i < padded; i += 2 * TVectors.Width)
        {
            even = TVectors.Max(even, TVectors.Load(scores + i));
            odd = TVectors.Max(odd, TVectors.Load(scores + i + TVectors.Width));
        }

        float max = TVectors.Largest(TVectors.Max(even, odd));
        TVector shift = TVectors.Broadcast(max), sums = TVectors.Broadcast(0);
        for (int i = 0; i < padded; i += 4 * TVectors.Width)
        {
            float* at = scores + i;
            TVector e = TVectors.Subtract(TVectors.Load(at), shift), f = TVectors.Subtract(TVectors.Load(at + TVectors.Width), shift);
            TVector g = TVectors.Subtract(TVectors.Load(at + 2 * TVectors.Width), shift), h = TVectors.Subtract(TVectors.Load(at + 3 * TVectors.Width), shift);
            Exponential<TVectors, TVector>.OfNotPositive(ref e, ref f, ref g, ref h);
            TVectors.Store(e, at);
            TVectors.Store(f, at + TVectors.Width);
            TVectors.Store(g, at + 2 * TVectors.Width);
            TVectors.Store(h, at + 3 * TVectors.Width);
            sums = TVectors.Add(TVectors.Add(TVectors.Add(TVectors.Add(sums, e), f), g), h);
        }

        sum = TVectors.Sum(sums);
        return max;
    }
}

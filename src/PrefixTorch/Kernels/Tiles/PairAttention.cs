using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using PrefixTorch.Kernels.Amx;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>
/// What <see cref="AttentionKernel{TVectors, TVector, TElement}"/> computes, with products of bf16: queries and weights are rounded to it, as keys and values
/// are or can be exactly; everything is summed up in fp32, and so is the softmax. It is what Hugging Face's attention does with a bf16 model.
/// </summary>
/// <typeparam name="TElement">bf16, or 8 bits.</typeparam>
/// <remarks>As there, what a query gives does not depend on the queries beside it nor on where segments begin.</remarks>
internal static unsafe class PairAttention<TElement>
    where TElement : struct, IElement
{
    // Columns that are unpacked together.
    private const int Unpacked = 2 * PairTileEmitter.Lanes;

    // Values of a panel.
    private const int PanelRows = PairTileEmitter.MostRegisters * PairTileEmitter.Lanes;

    /// <summary>Whether heads of this size can be computed so.</summary>
    public static bool Supports(int headDim) => headDim % PairTileEmitter.Lanes == 0;

    /// <summary>As <see cref="AttentionKernel{TVectors, TVector, TElement}.Partials"/>; by AMX's tiles where they are there and take heads of this size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization), SkipLocalsInit]
    public static void Partials(KeyValueRun* runs, AttentionQuery* queries, int count, int headDim, bool hasAmx)
    {
        if (hasAmx && headDim % AmxTileEmitter.Step == 0)
        {
            Partials<AmxPairs>(runs, queries, count, headDim);
        }
        else
        {
            Partials<VectorPairs>(runs, queries, count, headDim);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization), SkipLocalsInit]
    private static void Partials<TPairs>(KeyValueRun* runs, AttentionQuery* queries, int count, int headDim)
        where TPairs : struct, IPairs
    {
        // Whole tiles of rows: what stands in those behind the last one comes to nothing.
        int limit = AttentionQuery.Furthest(queries, count), rows = (count + TPairs.MostRows - 1) / TPairs.MostRows * TPairs.MostRows;
        ushort* rounded = stackalloc ushort[rows * headDim];
        for (int i = 0; i < count; i++)
        {
            Round(queries[i].Values, headDim, rounded + (i * headDim));
        }

        // A line further than need be: rows a power of two apart fall on few of the cache's sets.
        int padded = (limit + PanelRows - 1) / PanelRows * PanelRows, pitch = padded + (Streams.Line / sizeof(float)), weightPitch = padded + (Streams.Line / sizeof(ushort));
        byte* memory = stackalloc byte[(rows * pitch * sizeof(float)) + (rows * weightPitch * sizeof(ushort)) + (PanelRows * headDim * sizeof(ushort)) + Streams.Line];
        float* scores = (float*)Streams.Aligned(memory);
        ushort* weights = (ushort*)(scores + (rows * pitch));
        uint* panel = (uint*)(weights + (rows * weightPitch));
        TPairs.Scores<TElement>(runs, limit, headDim, queries, rounded, count, scores, pitch);
        Weigh(runs, limit, scores, pitch, queries, count, weights, weightPitch);
        byte** values = stackalloc byte*[limit];
        KeyValueRun.Rows(runs, limit, headDim * TElement.Size, areValues: true, values);
        float* sums = stackalloc float[rows * headDim];
        TPairs.Begin(count);
        for (int row = 0; row < limit; row += PanelRows)
        {
            int some = Math.Min(PanelRows, limit - row);
            FillValues(values + row, some, headDim, panel);
            Values<TPairs>(panel, row, TPairs.Fill(panel, (some + 1) / 2, headDim), weights + row, weightPitch, queries, count, headDim, sums);
        }

        TPairs.End();
        for (int i = 0; i < count; i++)
        {
            Restore(sums + (i * headDim), headDim, queries[i].Partial + 2);
        }
    }

    // Scores to weights of bf16, their maximum and sum to the partial result. Of keys that only others see, weights are zero.
    [SkipLocalsInit]
    private static void Weigh(KeyValueRun* runs, int limit, float* scores, int pitch, AttentionQuery* queries, int count, ushort* weights, int weightPitch)
    {
        float* keyScales = stackalloc float[pitch], valueScales = stackalloc float[pitch];
        bool isScaled = KeyValueRun.Scales(runs, limit, areValues: false, keyScales) && KeyValueRun.Scales(runs, limit, areValues: true, valueScales);
        if (isScaled)
        {
            new Span<float>(valueScales + limit, pitch - limit).Clear();
        }

        TileArguments arguments = new() { XScales = (byte*)valueScales };
        for (int i = 0; i < count; i++, scores += pitch, weights += weightPitch)
        {
            int own = queries[i].Limit, padded = (own + SoftmaxEmitter.Step - 1) / SoftmaxEmitter.Step * SoftmaxEmitter.Step;
            AttentionKernel<Vectors512, Vector512<float>, TElement>.Scale(scores, isScaled ? keyScales : null, own);
            new Span<float>(scores + own, padded - own).Fill(float.NegativeInfinity);
            arguments.X = (byte*)scores;
            arguments.Weights = (byte*)weights;
            arguments.Y = queries[i].Partial;
            arguments.Steps = padded / SoftmaxEmitter.Step;
            TileCode.GetSoftmax(isScaled)(&arguments);
            new Span<ushort>(weights + padded, weightPitch - padded).Clear();
        }
    }

    private static void Values<TPairs>(uint* panel, int first, int pairs, ushort* weights, int pitch, AttentionQuery* queries, int count, int headDim, float* sums)
        where TPairs : struct, IPairs
    {
        TileArguments arguments = new()
        {
            WeightPitch = (long)headDim * sizeof(uint),
            XPitch = (long)pitch * sizeof(ushort),
            YPitch = (long)headDim * sizeof(float),
            Adds = first > 0 ? 1u : 0u,
        };
        int columns = TPairs.MostRegisters * PairTileEmitter.Lanes;
        for (int i = 0, rows; i < count; i += rows)
        {
            rows = Math.Min(TPairs.MostRows, count - i);
            if (AttentionQuery.Furthest(queries + i, rows) <= first)
            {
                continue;
            }

            for (int d = 0; d < headDim; d += columns)
            {
                arguments.Weights = (byte*)(panel + d);
                arguments.X = (byte*)(weights + ((long)i * pitch));
                arguments.Y = sums + ((long)i * headDim) + d;
                arguments.Steps = pairs;
                TPairs.Multiply(rows, Math.Min(columns, headDim - d) / PairTileEmitter.Lanes, &arguments);
            }
        }
    }

    // [rows / 2, D]: two neighbouring rows' numbers to a lane; zeros where there is no second. Of 32 columns lanes stand as registers are unpacked: of every eight
    // the first four, and then the others.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FillValues(byte** rows, int count, int headDim, uint* panel)
    {
        for (int i = 0; i < count; i += 2, panel += headDim)
        {
            byte* first = rows[i], second = rows[Math.Min(i + 1, count - 1)];
            Vector512<ushort> both = i + 1 < count ? Vector512<ushort>.AllBitsSet : Vector512<ushort>.Zero;
            int d = 0;
            for (; d + Unpacked <= headDim; d += Unpacked)
            {
                Vector512<ushort> one = Whole(first, d), other = Whole(second, d) & both;
                Avx512BW.UnpackLow(one, other).AsUInt32().Store(panel + d);
                Avx512BW.UnpackHigh(one, other).AsUInt32().Store(panel + d + PairTileEmitter.Lanes);
            }

            if (d < headDim)
            {
                (Lower(first, d) | ((Lower(second, d) << 16) & both.AsUInt32())).Store(panel + d);
            }
        }
    }

    // What came of a panel's columns, in order again.
    private static void Restore(float* from, int headDim, float* to)
    {
        int d = 0;
        for (; d + Unpacked <= headDim; d += Unpacked)
        {
            for (int eight = 0; eight < Unpacked / 8; eight++)
            {
                float* lower = from + d + (4 * eight);
                Vector256.Create(Vector128.Load(lower), Vector128.Load(lower + PairTileEmitter.Lanes)).Store(to + d + (8 * eight));
            }
        }

        new ReadOnlySpan<float>(from + d, headDim - d).CopyTo(new Span<float>(to + d, headDim - d));
    }

    // Thirty-two numbers from d on as bf16.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ushort> Whole(byte* row, int d) => typeof(TElement) == typeof(BFloat16Element)
        ? Vector512.Load((ushort*)row + d)
        : Vector512.Narrow(Lower(row, d), Lower(row, d + PairTileEmitter.Lanes));

    // Sixteen numbers from d on as bf16, each in the lower half of a lane.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Lower(byte* row, int d) => typeof(TElement) == typeof(BFloat16Element)
        ? Avx512F.ConvertToVector512UInt32(Vector256.Load((ushort*)row + d))
        : TElement.Load<Vectors512, Vector512<float>>(row + (d * TElement.Size)).AsUInt32() >>> 16;

    private static void Round(float* from, int count, ushort* to) =>
        RowKernels<Vectors512, Vector512<float>>.Convert<Float32Element, BFloat16Element>((byte*)from, (byte*)to, count);
}

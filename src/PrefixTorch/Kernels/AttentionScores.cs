using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>Marks queries so few that keys are met as pairs of bf16, which are turned into a panel in half the steps and come apart here.</summary>
internal readonly struct FewQueries;

/// <summary>Marks the first of many: like <see cref="FewQueries"/> they ask memory for what comes next.</summary>
internal readonly struct FirstQueries;

/// <summary>Marks those that follow.</summary>
internal readonly struct LaterQueries;

/// <summary>Scores of queries against a panel of keys, four queries at a time.</summary>
/// <typeparam name="TVectors">The instruction set.</typeparam>
/// <typeparam name="TVector">Its register.</typeparam>
/// <typeparam name="TElement">What keys and values are held as. The panel holds floats, or pairs of bf16: see <see cref="InPairs"/>.</typeparam>
internal static unsafe class AttentionScores<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    /// <summary>Keys of a panel: two registers.</summary>
    public static int Keys => 2 * TVectors.Width;

    /// <summary>Whether a lane of the panel is to hold two neighbours of a key rather than one of them, widened: of so few queries.</summary>
    public static bool InPairs(int count, int headDim) => typeof(TElement) == typeof(BFloat16Element) && count <= 4 && headDim % 2 == 0;

    /// <summary>
    /// Writes every query's scores; those of one query begin <paramref name="pitch"/> floats after those of the one before. Memory is asked for the keys and values that lie at
    /// <paramref name="nextKeys"/> and <paramref name="nextValues"/>, as many as the panel has, a line of each at a time: it brings them while others are computed with, and some processors wait for all that
    /// are asked for at once.
    /// </summary>
    public static void Run(float* panel, int headDim, AttentionQuery* queries, int count, float* scores, int pitch, byte* nextKeys, byte* nextValues)
    {
        for (int i = 0; i < count; i += 4, scores += 4 * pitch)
        {
            // Queries beyond the last are the last one again.
            int last = Math.Min(3, count - i - 1), second = Math.Min(1, last), third = Math.Min(2, last);
            AttentionQuery* first = queries + i;
            var tile = new Tile
            {
                Panel = panel,
                HeadDim = headDim,
                Query0 = first->Values,
                Query1 = first[second].Values,
                Query2 = first[third].Values,
                Query3 = first[last].Values,
                Scores0 = scores,
                Scores1 = scores + second * pitch,
                Scores2 = scores + third * pitch,
                Scores3 = scores + last * pitch,
                NextKeys = nextKeys,
                NextValues = nextValues,
            };
            if (i > 0)
            {
                Multiply<LaterQueries>(tile, last);
            }
            else if (InPairs(count, headDim))
            {
                Multiply<FewQueries>(tile, last);
            }
            else
            {
                Multiply<FirstQueries>(tile, last);
            }
        }
    }

    private static void Multiply<TPass>(in Tile tile, int last)
    {
        if (last == 0)
        {
            One<TPass>(tile);
        }
        else
        {
            Four<TPass>(tile);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One<TPass>(in Tile tile)
    {
        byte* keys = tile.NextKeys, values = tile.NextValues;
        float* panel = tile.Panel, query = tile.Query0;
        int headDim = tile.HeadDim;
        TVector s0 = TVectors.Broadcast(0), s1 = s0;
        for (int d = 0; d < headDim; d += Dimensions<TPass>(), panel += Keys)
        {
            Ask<TPass>(keys, values, d);
            TVector p0 = TVectors.Load(panel), p1 = TVectors.Load(panel + TVectors.Width);
            Add(First<TPass>(p0), First<TPass>(p1), query[d], ref s0, ref s1);
            if (Dimensions<TPass>() == 2)
            {
                Add(TVectors.HighHalves(p0), TVectors.HighHalves(p1), query[d + 1], ref s0, ref s1);
            }
        }

        Store(s0, s1, tile.Scores0);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four<TPass>(in Tile tile)
    {
        byte* keys = tile.NextKeys, values = tile.NextValues;
        float* panel = tile.Panel, q0 = tile.Query0, q1 = tile.Query1, q2 = tile.Query2, q3 = tile.Query3;
        int headDim = tile.HeadDim;
        TVector s00 = TVectors.Broadcast(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00;
        for (int d = 0; d < headDim; d += Dimensions<TPass>(), panel += Keys)
        {
            Ask<TPass>(keys, values, d);
            TVector p0 = TVectors.Load(panel), p1 = TVectors.Load(panel + TVectors.Width), k0 = First<TPass>(p0), k1 = First<TPass>(p1);
            Add(k0, k1, q0[d], ref s00, ref s01);
            Add(k0, k1, q1[d], ref s10, ref s11);
            Add(k0, k1, q2[d], ref s20, ref s21);
            Add(k0, k1, q3[d], ref s30, ref s31);
            if (Dimensions<TPass>() == 2)
            {
                (k0, k1) = (TVectors.HighHalves(p0), TVectors.HighHalves(p1));
                Add(k0, k1, q0[d + 1], ref s00, ref s01);
                Add(k0, k1, q1[d + 1], ref s10, ref s11);
                Add(k0, k1, q2[d + 1], ref s20, ref s21);
                Add(k0, k1, q3[d + 1], ref s30, ref s31);
            }
        }

        Store(s00, s01, tile.Scores0);
        Store(s10, s11, tile.Scores1);
        Store(s20, s21, tile.Scores2);
        Store(s30, s31, tile.Scores3);
    }

    // Dimensions that a lane holds.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Dimensions<TPass>() => typeof(TPass) == typeof(FewQueries) && typeof(TElement) == typeof(BFloat16Element) ? 2 : 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector First<TPass>(TVector panel) => Dimensions<TPass>() == 2 ? TVectors.LowHalves(panel) : panel;

    // One query's products of one dimension.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(TVector k0, TVector k1, float query, ref TVector s0, ref TVector s1)
    {
        TVector q = TVectors.Broadcast(query);
        s0 = TVectors.MultiplyAdd(k0, q, s0);
        s1 = TVectors.MultiplyAdd(k1, q, s1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(TVector s0, TVector s1, float* to)
    {
        TVectors.Store(s0, to);
        TVectors.Store(s1, to + TVectors.Width);
    }

    // At one dimension, as much of the keys and values as the panel has of it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Ask<TPass>(byte* keys, byte* values, int d)
    {
        int bytes = Keys * TElement.Size * Dimensions<TPass>();
        long at = (long)d * Keys * TElement.Size;
        if (typeof(TPass) == typeof(LaterQueries) || (bytes < Streams.Line && (at & (Streams.Line - 1)) != 0))
        {
            return;
        }

        Streams.Prefetch(keys + at);
        Streams.Prefetch(values + at);
        if (bytes > Streams.Line)
        {
            Streams.Prefetch(keys + at + Streams.Line);
            Streams.Prefetch(values + at + Streams.Line);
        }
    }

    private struct Tile
    {
        public float* Panel;
        public int HeadDim;
        public float* Query0;
        public float* Query1;
        public float* Query2;
        public float* Query3;
        public float* Scores0;
        public float* Scores1;
        public float* Scores2;
        public float* Scores3;
        public byte* NextKeys;
        public byte* NextValues;
    }
}

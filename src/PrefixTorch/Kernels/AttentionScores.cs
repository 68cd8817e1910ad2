using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>Scores of queries against a panel of keys, four queries at a time.</summary>
internal static unsafe class AttentionScores<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>Keys of a panel: two registers.</summary>
    public static int Keys => 2 * TVectors.Width;

    /// <summary>Writes every query's scores; those of one query begin <paramref name="pitch"/> floats after those of the one before.</summary>
    public static void Run(float* panel, int headDim, AttentionQuery* queries, int count, float* scores, int pitch)
    {
        for (int i = 0; i < count; i += 4, scores += 4 * pitch)
        {
            if (count - i == 1)
            {
                One(panel, headDim, queries[i].Values, scores);
            }
            else
            {
                // Queries beyond the last are the last one again.
                int second = 1, third = Math.Min(2, count - i - 1), fourth = Math.Min(3, count - i - 1);
                AttentionQuery* first = queries + i;
                Four(panel, headDim, first->Values, first[second].Values, first[third].Values, first[fourth].Values, scores, scores + second * pitch, scores + third * pitch, scores + fourth * pitch);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One(float* panel, int headDim, float* query, float* scores)
    {
        TVector s0 = TVectors.Broadcast(0), s1 = s0;
        for (int d = 0; d < headDim; d++, panel += 2 * TVectors.Width)
        {
            TVector q = TVectors.Broadcast(query[d]);
            s0 = TVectors.MultiplyAdd(TVectors.Load(panel), q, s0);
            s1 = TVectors.MultiplyAdd(TVectors.Load(panel + TVectors.Width), q, s1);
        }

        TVectors.Store(s0, scores);
        TVectors.Store(s1, scores + TVectors.Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four(float* panel, int headDim, float* q0, float* q1, float* q2, float* q3, float* to0, float* to1, float* to2, float* to3)
    {
        TVector s00 = TVectors.Broadcast(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00;
        for (int d = 0; d < headDim; d++, panel += 2 * TVectors.Width)
        {
            TVector k0 = TVectors.Load(panel), k1 = TVectors.Load(panel + TVectors.Width);
            TVector q = TVectors.Broadcast(q0[d]);
            s00 = TVectors.MultiplyAdd(k0, q, s00);
            s01 = TVectors.MultiplyAdd(k1, q, s01);
            q = TVectors.Broadcast(q1[d]);
            s10 = TVectors.MultiplyAdd(k0, q, s10);
            s11 = TVectors.MultiplyAdd(k1, q, s11);
            q = TVectors.Broadcast(q2[d]);
            s20 = TVectors.MultiplyAdd(k0, q, s20);
            s21 = TVectors.MultiplyAdd(k1, q, s21);
            q = TVectors.Broadcast(q3[d]);
            s30 = TVectors.MultiplyAdd(k0, q, s30);
            s31 = TVectors.MultiplyAdd(k1, q, s31);
        }

        TVectors.Store(s00, to0);
        TVectors.Store(s01, to0 + TVectors.Width);
        TVectors.Store(s10, to1);
        TVectors.Store(s11, to1 + TVectors.Width);
        TVectors.Store(s20, to2);
        TVectors.Store(s21, to2 + TVectors.Width);
        TVectors.Store(s30, to3);
        TVectors.Store(s31, to3 + TVectors.Width);
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>What <see cref="FourByThree{TVectors, TVector, TElement}"/> reads and writes: pointers are to the tile's first row, column and output. Sums rest in memory from one block of columns to the next.</summary>
internal unsafe struct ProductTile
{
    public float* X;
    public long XStride;
    public int Rows;
    public int Outputs;
    public int Count;
    public float* Panel;

    /// <summary>Sums between blocks. Like <see cref="IsFirst"/> and <see cref="IsLast"/> it means nothing to <see cref="OnlyRows"/>, whose columns are not cut.</summary>
    public float* Sums;
    public bool IsFirst;
    public bool IsLast;

    /// <summary>How far ahead <see cref="OnlyRows"/> ask for weights.</summary>
    public long Ahead;
    public float* Bias;
    public float* Y;
    public long YStride;
}

/// <summary>Marks rows that are alone, and meet all columns at once: weights are read as they are stored, and memory is asked for later ones.</summary>
internal readonly struct OnlyRows;

/// <summary>Marks rows that leave the weights widened in the panel.</summary>
internal readonly struct FirstRows;

/// <summary>Marks rows that find them there.</summary>
internal readonly struct LaterRows;

/// <summary>
/// Four rows of <c>x</c> by three of <c>W</c>: twelve sums, three registers of weights and one of <c>x</c> are the sixteen registers of AVX2, and where there are thirty-two, larger tiles were
/// slower. Each sum is one chain of multiply-adds in the order of <c>k</c>.
/// </summary>
internal static unsafe class FourByThree<TVectors, TVector, TElement>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
    where TElement : struct, IElement
{
    /// <summary>
    /// One tile over one block of columns; the weights' rows are not read by <see cref="LaterRows"/>. In the panel they stand register by register as later rows read them, so that one stream comes from
    /// the cache, and behind them what is left of each row, less than a register: the panel of <see cref="OnlyRows"/> has room for just that. Rows and outputs beyond the last are the last ones again.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply<TPass>(in ProductTile tile, byte* w0, byte* w1, byte* w2)
    {
        // Rows that are alone meet all columns at once: they have no sums to keep, and so much less to hold in registers.
        bool isWhole = typeof(TPass) == typeof(OnlyRows);
        float* x0 = tile.X, x1 = x0 + tile.XStride * Math.Min(1, tile.Rows - 1), x2 = x0 + tile.XStride * Math.Min(2, tile.Rows - 1);
        float* x3 = x0 + tile.XStride * (tile.Rows - 1), panel = tile.Panel, sums = tile.Sums;
        TVector s00, s01, s02, s10, s11, s12, s20, s21, s22, s30, s31, s32;
        if (isWhole || tile.IsFirst)
        {
            s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = TVectors.Broadcast(0);
        }
        else
        {
            s00 = TVectors.Load(sums);
            s01 = TVectors.Load(sums + TVectors.Width);
            s02 = TVectors.Load(sums + 2 * TVectors.Width);
            s10 = TVectors.Load(sums + 3 * TVectors.Width);
            s11 = TVectors.Load(sums + 4 * TVectors.Width);
            s12 = TVectors.Load(sums + 5 * TVectors.Width);
            s20 = TVectors.Load(sums + 6 * TVectors.Width);
            s21 = TVectors.Load(sums + 7 * TVectors.Width);
            s22 = TVectors.Load(sums + 8 * TVectors.Width);
            s30 = TVectors.Load(sums + 9 * TVectors.Width);
            s31 = TVectors.Load(sums + 10 * TVectors.Width);
            s32 = TVectors.Load(sums + 11 * TVectors.Width);
        }

        long ahead = tile.Ahead;
        int count = tile.Count, whole = count & -TVectors.Width;
        for (int k = 0; k < whole; k += TVectors.Width)
        {
            TVector a0, a1, a2;
            if (typeof(TPass) == typeof(LaterRows))
            {
                a0 = TVectors.Load(panel);
                a1 = TVectors.Load(panel + TVectors.Width);
                a2 = TVectors.Load(panel + 2 * TVectors.Width);
            }
            else
            {
                long at = (long)k * TElement.Size;
                if (typeof(TPass) == typeof(OnlyRows))
                {
                    Streams.Prefetch(w0, w1, w2, at, ahead);
                }

                a0 = TElement.Load<TVectors, TVector>(w0 + at);
                a1 = TElement.Load<TVectors, TVector>(w1 + at);
                a2 = TElement.Load<TVectors, TVector>(w2 + at);
                if (typeof(TPass) == typeof(FirstRows))
                {
                    TVectors.Store(a0, panel);
                    TVectors.Store(a1, panel + TVectors.Width);
                    TVectors.Store(a2, panel + 2 * TVectors.Width);
                }
            }

            if (!isWhole)
            {
                panel += 3 * TVectors.Width;
            }

            TVector v = TVectors.Load(x0 + k);
            s00 = TVectors.MultiplyAdd(a0, v, s00);
            s01 = TVectors.MultiplyAdd(a1, v, s01);
            s02 = TVectors.MultiplyAdd(a2, v, s02);
            v = TVectors.Load(x1 + k);
            s10 = TVectors.MultiplyAdd(a0, v, s10);
            s11 = TVectors.MultiplyAdd(a1, v, s11);
            s12 = TVectors.MultiplyAdd(a2, v, s12);
            v = TVectors.Load(x2 + k);
            s20 = TVectors.MultiplyAdd(a0, v, s20);
            s21 = TVectors.MultiplyAdd(a1, v, s21);
            s22 = TVectors.MultiplyAdd(a2, v, s22);
            v = TVectors.Load(x3 + k);
            s30 = TVectors.MultiplyAdd(a0, v, s30);
            s31 = TVectors.MultiplyAdd(a1, v, s31);
            s32 = TVectors.MultiplyAdd(a2, v, s32);
        }

        if (isWhole || tile.IsLast)
        {
            // Before anything is called that could ask for their registers in the loop.
            Vector128<float> y0 = TVectors.Sums(s00, s10, s20, s30), y1 = TVectors.Sums(s01, s11, s21, s31), y2 = TVectors.Sums(s02, s12, s22, s32);

            int tail = count - whole;
            if (typeof(TPass) != typeof(LaterRows))
            {
                for (int i = 0; i < tail; i++)
                {
                    panel[i] = TElement.Load(w0 + (long)(whole + i) * TElement.Size);
                    panel[tail + i] = TElement.Load(w1 + (long)(whole + i) * TElement.Size);
                    panel[2 * tail + i] = TElement.Load(w2 + (long)(whole + i) * TElement.Size);
                }
            }

            Finish(tile, 0, y0, panel, whole);
            Finish(tile, Math.Min(1, tile.Outputs - 1), y1, panel + tail, whole);
            Finish(tile, tile.Outputs - 1, y2, panel + 2 * tail, whole);
        }
        else
        {
            TVectors.Store(s00, sums);
            TVectors.Store(s01, sums + TVectors.Width);
            TVectors.Store(s02, sums + 2 * TVectors.Width);
            TVectors.Store(s10, sums + 3 * TVectors.Width);
            TVectors.Store(s11, sums + 4 * TVectors.Width);
            TVectors.Store(s12, sums + 5 * TVectors.Width);
            TVectors.Store(s20, sums + 6 * TVectors.Width);
            TVectors.Store(s21, sums + 7 * TVectors.Width);
            TVectors.Store(s22, sums + 8 * TVectors.Width);
            TVectors.Store(s30, sums + 9 * TVectors.Width);
            TVectors.Store(s31, sums + 10 * TVectors.Width);
            TVectors.Store(s32, sums + 11 * TVectors.Width);
        }
    }

    // One output of every row.
    private static void Finish(in ProductTile tile, int output, Vector128<float> sums, float* weights, int k)
    {
        for (int row = 0; row < tile.Rows; row++)
        {
            float sum = sums[row];
            float* x = tile.X + row * tile.XStride + k;
            for (int i = 0; i < tile.Count - k; i++)
            {
                sum += weights[i] * x[i];
            }

            tile.Y[row * tile.YStride + output] = tile.Bias is null ? sum : sum + tile.Bias[output];
        }
    }
}

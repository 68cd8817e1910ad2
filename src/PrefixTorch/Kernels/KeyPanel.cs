using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>
/// A few keys, widened and turned: dimension by dimension, a lane for each key. So scores of as many keys as a register has lanes are summed up
/// at once, in one order, and no register is ever added up across its lanes.
/// </summary>
internal static unsafe class KeyPanel<TElement>
    where TElement : struct, IElement
{
    // Squares of four rows and four times 32 bits, which hold a few elements each. Wider registers would exchange as much across their halves as they save.
    private const int Square = 16;

    /// <summary>
    /// Fills a panel, <c>[D, pitch]</c>, with <paramref name="count"/> keys, at most <paramref name="pitch"/>, which is a multiple of four. Lanes beyond
    /// the last key are undefined. Memory is asked for the keys so many bytes <paramref name="ahead"/>, unless that is zero.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Fill(byte** keys, int count, int headDim, float* panel, long pitch, long ahead)
    {
        int last = count - 1, bytes = headDim * TElement.Size;
        long step = pitch * (sizeof(float) / TElement.Size);
        for (int j = 0; j < count; j += 4)
        {
            byte* k0 = keys[j], k1 = keys[Math.Min(j + 1, last)], k2 = keys[Math.Min(j + 2, last)], k3 = keys[Math.Min(j + 3, last)];
            float* to = panel + j;
            int at = 0;
            for (; at + Square <= bytes; at += Square, to += 4 * step)
            {
                if (ahead != 0)
                {
                    Streams.Prefetch(k0, k1, k2, k3, at, ahead);
                }

                Vector128<float> a = Vector128.Load((float*)(k0 + at)), b = Vector128.Load((float*)(k1 + at));
                Vector128<float> c = Vector128.Load((float*)(k2 + at)), d = Vector128.Load((float*)(k3 + at));
                Vectors128.Transpose(ref a, ref b, ref c, ref d);
                Store(a, to, pitch);
                Store(b, to + step, pitch);
                Store(c, to + 2 * step, pitch);
                Store(d, to + 3 * step, pitch);
            }

            for (; at < bytes; at += TElement.Size, to += pitch)
            {
                to[0] = TElement.Load(k0 + at);
                to[1] = TElement.Load(k1 + at);
                to[2] = TElement.Load(k2 + at);
                to[3] = TElement.Load(k3 + at);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector128<float> packed, float* to, long pitch)
    {
        TElement.Unpack(packed, 0).Store(to);
        if (TElement.Size <= 2)
        {
            TElement.Unpack(packed, 1).Store(to + pitch);
        }

        if (TElement.Size == 1)
        {
            TElement.Unpack(packed, 2).Store(to + 2 * pitch);
            TElement.Unpack(packed, 3).Store(to + 3 * pitch);
        }
    }
}

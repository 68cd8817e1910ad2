using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Sampling;

/// <summary>
/// Finds the k highest scores in one pass, without sorting the row. A score and its id are packed into a key that sorts as they
/// do: by score, then the lower id first.
/// </summary>
internal static class TopSelection
{
    private const int Lanes = 8;

    /// <summary>The keys of the <paramref name="k"/> highest scores, highest first. Forbidden ids are not among them, so there may be fewer.</summary>
    /// <remarks>The result lies in the scratch: it is good until the scratch's keys are used again.</remarks>
    public static ReadOnlySpan<ulong> Take(ReadOnlySpan<float> scores, int k, SamplingScratch scratch)
    {
        Span<ulong> top = Gather(scores, k, scratch);
        SortDescending(top);
        return top;
    }

    /// <summary>The k-th highest score; null where fewer than k are allowed.</summary>
    public static float? Last(ReadOnlySpan<float> scores, int k, SamplingScratch scratch)
    {
        Span<ulong> top = Gather(scores, k, scratch);
        if (top.Length < k)
        {
            return null;
        }

        ulong last = ulong.MaxValue;
        foreach (ulong key in top)
        {
            last = Math.Min(last, key);
        }

        return Score(last);
    }

    // The k largest keys, in no order.
    private static Span<ulong> Gather(ReadOnlySpan<float> scores, int k, SamplingScratch scratch)
    {
        k = Math.Min(k, scores.Length);
        if (k == 0)
        {
            return [];
        }

        // Candidates gather until the room is full; then all but the best k go, and the k-th becomes the bar for what follows.
        Span<ulong> keys = scratch.Keys(Math.Min(scores.Length, k + Math.Max(k, 1024)) + Lanes);
        int room = keys.Length - Lanes;
        int count = 0;
        float bar = float.NegativeInfinity;
        int i = 0;
        for (; i <= scores.Length - Lanes; i += Lanes)
        {
            if (!Vector256.GreaterThanAny(Vector256.Create(scores[i..]), Vector256.Create(bar)))
            {
                continue;
            }

            for (int id = i; id < i + Lanes; id++)
            {
                Offer(scores, id, bar, keys, ref count);
            }

            if (count >= room && count > k)
            {
                KeepLargest(keys[..count], k);
                count = k;
                bar = Score(keys[k - 1]);
            }
        }

        for (; i < scores.Length; i++)
        {
            Offer(scores, i, bar, keys, ref count);
        }

        if (count > k)
        {
            KeepLargest(keys[..count], k);
            count = k;
        }

        return keys[..count];
    }

    /// <summary>The score in a key.</summary>
    public static float Score(ulong key)
    {
        uint bits = (uint)(key >> 32);
        return BitConverter.UInt32BitsToSingle((bits & 0x8000_0000) != 0 ? bits ^ 0x8000_0000 : ~bits);
    }

    /// <summary>The id in a key.</summary>
    public static int Id(ulong key) => (int)~(uint)key;

    /// <summary>Packs a score and an id.</summary>
    internal static ulong Key(float score, int id)
    {
        // Adding zero turns -0 into 0, which is equal as a score and would not be as bits.
        uint bits = BitConverter.SingleToUInt32Bits(score + 0f);
        uint ordered = (bits & 0x8000_0000) != 0 ? ~bits : bits | 0x8000_0000;
        return ((ulong)ordered << 32) | ~(uint)id;
    }

    /// <summary>Moves the k largest keys to the front, in no order but for the k-th largest, which comes last of them.</summary>
    internal static void KeepLargest(Span<ulong> keys, int k)
    {
        int low = 0, high = keys.Length - 1, target = k - 1;
        for (int patience = 64; low < high; patience--)
        {
            if (patience == 0)
            {
                SortDescending(keys[low..(high + 1)]);
                return;
            }

            ulong pivot = MedianOfThree(keys[low], keys[low + ((high - low) / 2)], keys[high]);
            int i = low, j = high;
            while (i <= j)
            {
                while (keys[i] > pivot)
                {
                    i++;
                }

                while (keys[j] < pivot)
                {
                    j--;
                }

                if (i <= j)
                {
                    (keys[i], keys[j]) = (keys[j], keys[i]);
                    i++;
                    j--;
                }
            }

            if (target <= j)
            {
                high = j;
            }
            else if (target >= i)
            {
                low = i;
            }
            else
            {
                return;
            }
        }
    }

    // A score that only equals the bar has a higher id than the one that set it, and so ranks below all that are kept.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Offer(ReadOnlySpan<float> scores, int id, float bar, Span<ulong> keys, ref int count)
    {
        if (scores[id] > bar)
        {
            keys[count++] = Key(scores[id], id);
        }
    }

    // Sorting by the type's own order is several times faster than by a comparison that is passed in.
    private static void SortDescending(Span<ulong> keys)
    {
        keys.Sort();
        keys.Reverse();
    }

    private static ulong MedianOfThree(ulong a, ulong b, ulong c) => Math.Max(Math.Min(a, b), Math.Min(Math.Max(a, b), c));
}

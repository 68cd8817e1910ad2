using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Sampling;

/// <summary>
/// Finds how far down a ranking one has to go until the tokens so far hold a mass, without sorting the row: the masses of narrow ranges of
/// rank are summed first, and only the one range in which the mass is reached is put in order.
/// </summary>
/// <remarks>Eight lanes wide on every machine, and summed in the order of ids: the same row gives the same bits everywhere.</remarks>
internal static class MassSelection
{
    private const int Lanes = 8;

    // Their sums fit into the first-level cache, and even a flat row of 128k scores leaves some hundred tokens in each.
    private const int Ranges = 2048;

    /// <summary>
    /// The key (of rank and id, as in <see cref="TopSelection"/>) of the last of the fewest best-ranked tokens whose weights sum to at least
    /// <paramref name="wanted"/>; at least one token. Null where all that are looked at do not hold as much.
    /// </summary>
    /// <param name="ranks">A rank for each id; the higher the better, among equals the lower id.</param>
    /// <param name="weights">What each id holds.</param>
    /// <param name="best">The highest rank.</param>
    /// <param name="least">Below the best. Tokens that rank below this are not looked at: the caller knows that they are not needed.</param>
    /// <param name="wanted">The mass.</param>
    /// <param name="scratch">The result does not lie in it; its keys and sums are used.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static ulong? Last(ReadOnlySpan<float> ranks, ReadOnlySpan<float> weights, float best, float least, double wanted, SamplingScratch scratch)
    {
        // Where scores are so large that the two are one, what ranks below the best falls out of all ranges.
        float scale = Math.Min((Ranges - 1) / (best - least), float.MaxValue);
        Span<double> masses = scratch.Sums(Ranges + 1);
        SumRanges(ranks, weights, best, scale, masses);
        double held = 0;
        for (int range = 0; range < Ranges; range++)
        {
            if (held + masses[range] < wanted)
            {
                held += masses[range];
                continue;
            }

            Span<ulong> keys = KeysOf(ranks, best, scale, range, scratch);
            if (keys.IsEmpty)
            {
                return null;
            }

            keys.Sort();
            int next = keys.Length;
            do
            {
                held += weights[TopSelection.Id(keys[--next])];
            }
            while (next > 0 && held < wanted);

            return keys[next];
        }

        return null;
    }

    // What ranks too low falls into one range more, which nobody asks for.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumRanges(ReadOnlySpan<float> ranks, ReadOnlySpan<float> weights, float best, float scale, Span<double> masses)
    {
        masses.Clear();
        ref float rank = ref MemoryMarshal.GetReference(ranks);
        ref float weight = ref MemoryMarshal.GetReference(weights[..ranks.Length]);
        ref double mass = ref MemoryMarshal.GetReference(masses);
        int i = 0;
        for (; i <= ranks.Length - Lanes; i += Lanes)
        {
            Vector256<int> range = RangeOf(Vector256.LoadUnsafe(ref rank, (nuint)i), best, scale);
            if (range == Vector256.Create(Ranges))
            {
                continue;
            }

            Vector128<int> low = range.GetLower(), high = range.GetUpper();
            Add(ref mass, low[0], ref weight, i);
            Add(ref mass, low[1], ref weight, i + 1);
            Add(ref mass, low[2], ref weight, i + 2);
            Add(ref mass, low[3], ref weight, i + 3);
            Add(ref mass, high[0], ref weight, i + 4);
            Add(ref mass, high[1], ref weight, i + 5);
            Add(ref mass, high[2], ref weight, i + 6);
            Add(ref mass, high[3], ref weight, i + 7);
        }

        for (; i < ranks.Length; i++)
        {
            Add(ref mass, RangeOf(Vector256.Create(ranks[i]), best, scale)[0], ref weight, i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static Span<ulong> KeysOf(ReadOnlySpan<float> ranks, float best, float scale, int range, SamplingScratch scratch)
    {
        Span<ulong> keys = scratch.Keys(ranks.Length);
        ref float rank = ref MemoryMarshal.GetReference(ranks);
        int count = 0, i = 0;
        for (; i <= ranks.Length - Lanes; i += Lanes)
        {
            uint here = Vector256.Equals(RangeOf(Vector256.LoadUnsafe(ref rank, (nuint)i), best, scale), Vector256.Create(range)).ExtractMostSignificantBits();
            for (; here != 0; here &= here - 1)
            {
                int id = i + System.Numerics.BitOperations.TrailingZeroCount(here);
                keys[count++] = TopSelection.Key(ranks[id], id);
            }
        }

        for (; i < ranks.Length; i++)
        {
            if (RangeOf(Vector256.Create(ranks[i]), best, scale)[0] == range)
            {
                keys[count++] = TopSelection.Key(ranks[i], i);
            }
        }

        return keys[..count];
    }

    // Never falling with the rank, so that ranges are in order and equal ranks in one. Whatever a rank is, also not a number, its range is one of them or the one more.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> RangeOf(Vector256<float> rank, float best, float scale)
    {
        Vector256<float> place = Vector256.Min((Vector256.Create(best) - rank) * Vector256.Create(scale), Vector256.Create((float)Ranges));
        return Vector256.Min(Vector256.ConvertToInt32Native(place).AsUInt32(), Vector256.Create((uint)Ranges)).AsInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(ref double masses, int range, ref float weights, int id) => Unsafe.Add(ref masses, range) += Unsafe.Add(ref weights, id);
}

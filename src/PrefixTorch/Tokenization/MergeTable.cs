using System.Numerics;

namespace PrefixTorch.Tokenization;

/// <summary>
/// Which two neighbouring tokens merge into which third, and how early (the lower the rank, the earlier). Filled while
/// loading, never changed afterwards.
/// </summary>
/// <remarks>
/// A table with open addressing instead of a <see cref="Dictionary{TKey, TValue}"/>: the hash of a 64-bit key is there the exclusive
/// or of its halves, 0 for every pair of equals, and Llama 3's 280,147 pairs share 131,072 values of it. This one is several times as fast.
/// </remarks>
internal sealed class MergeTable
{
    private const ulong Empty = ulong.MaxValue;

    private ulong[] _pairs;
    private ulong[] _merges;
    private int _shift;

    /// <summary>A table for about so many pairs; it grows when there are more.</summary>
    public MergeTable(int capacity)
    {
        (_pairs, _merges) = ([], []);
        Resize(Math.Max(capacity, 8));
    }

    /// <summary>The number of pairs.</summary>
    public int Count { get; private set; }

    /// <summary>Adds a pair; of two entries for one pair the later counts, as in Hugging Face's table.</summary>
    public void Add(int left, int right, int rank, int result)
    {
        if (Count * 2 >= _pairs.Length)
        {
            Resize(_pairs.Length);
        }

        Set(Pack(left, right), Pack(rank, result));
    }

    /// <summary>Looks a pair up.</summary>
    public bool TryGet(int left, int right, out int rank, out int result)
    {
        ulong pair = Pack(left, right);
        int slot = Slot(pair);
        ulong merge = _merges[slot];
        (rank, result) = ((int)(merge >> 32), (int)merge);
        return _pairs[slot] == pair;
    }

    /// <summary>Removes the merges that end in one of the given tokens.</summary>
    public void RemoveResults(IReadOnlySet<int> results)
    {
        var (pairs, merges) = (_pairs, _merges);
        bool Removed(int slot) => pairs[slot] != Empty && results.Contains((int)merges[slot]);
        if (results.Count == 0 || !Enumerable.Range(0, pairs.Length).Any(Removed))
        {
            return;
        }

        for (int slot = 0; slot < pairs.Length; slot++)
        {
            pairs[slot] = Removed(slot) ? Empty : pairs[slot];
        }

        Resize(Count);
    }

    /// <summary>Every merge as (left, right, rank, result), in the order of left and right.</summary>
    public IEnumerable<(int Left, int Right, int Rank, int Result)> InOrder()
    {
        ulong[] pairs = [.. _pairs.Where(pair => pair != Empty)];
        Array.Sort(pairs);
        foreach (ulong pair in pairs)
        {
            ulong merge = _merges[Slot(pair)];
            yield return ((int)(pair >> 32), (int)pair, (int)(merge >> 32), (int)merge);
        }
    }

    private static ulong Pack(int high, int low) => ((ulong)(uint)high << 32) | (uint)low;

    private void Set(ulong pair, ulong merge)
    {
        int slot = Slot(pair);
        Count += _pairs[slot] == Empty ? 1 : 0;
        (_pairs[slot], _merges[slot]) = (pair, merge);
    }

    /// <summary>Where a pair stands, or would.</summary>
    private int Slot(ulong pair)
    {
        // Fibonacci hashing: the upper bits of a product with 2^64 / phi are well mixed. The table is never full, so this ends.
        int slot = (int)((pair * 0x9E3779B97F4A7C15) >> _shift);
        while (_pairs[slot] != pair && _pairs[slot] != Empty)
        {
            slot = (slot + 1) & (_pairs.Length - 1);
        }

        return slot;
    }

    private void Resize(int capacity)
    {
        var (pairs, merges) = (_pairs, _merges);
        int slots = (int)BitOperations.RoundUpToPowerOf2((uint)capacity * 2);
        _pairs = new ulong[slots];
        _merges = new ulong[slots];
        _shift = 64 - BitOperations.Log2((uint)slots);
        Array.Fill(_pairs, Empty);
        Count = 0;
        for (int i = 0; i < pairs.Length; i++)
        {
            if (pairs[i] != Empty)
            {
                Set(pairs[i], merges[i]);
            }
        }
    }
}

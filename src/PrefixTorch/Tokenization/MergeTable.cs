namespace PrefixTorch.Tokenization;

/// <summary>Which two neighbouring tokens merge into which third, and how early (the lower the rank, the earlier).</summary>
internal sealed class MergeTable(int capacity)
{
    private readonly Dictionary<ulong, ulong> _merges = new(capacity);

    /// <summary>The number of pairs.</summary>
    public int Count => _merges.Count;

    /// <summary>Adds a pair; of two entries for one pair the later counts, as in Hugging Face's table.</summary>
    public void Add(int left, int right, int rank, int result) => _merges[Pack(left, right)] = Pack(rank, result);

    /// <summary>Looks a pair up.</summary>
    public bool TryGet(int left, int right, out int rank, out int result)
    {
        bool found = _merges.TryGetValue(Pack(left, right), out ulong value);
        rank = (int)(value >> 32);
        result = (int)value;
        return found;
    }

    /// <summary>Removes the merges that end in one of the given tokens.</summary>
    public void RemoveResults(IReadOnlySet<int> results)
    {
        foreach (ulong pair in _merges.Where(merge => results.Contains((int)merge.Value)).Select(merge => merge.Key).ToArray())
        {
            _merges.Remove(pair);
        }
    }

    /// <summary>Every merge as (left, right, rank, result), in the order of left and right.</summary>
    public IEnumerable<(int Left, int Right, int Rank, int Result)> InOrder()
    {
        ulong[] pairs = new ulong[_merges.Count];
        _merges.Keys.CopyTo(pairs, 0);
        Array.Sort(pairs);
        foreach (ulong pair in pairs)
        {
            ulong value = _merges[pair];
            yield return ((int)(pair >> 32), (int)pair, (int)(value >> 32), (int)value);
        }
    }

    private static ulong Pack(int high, int low) => ((ulong)(uint)high << 32) | (uint)low;
}

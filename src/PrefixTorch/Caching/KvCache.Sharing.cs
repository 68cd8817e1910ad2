namespace PrefixTorch.Caching;

/// <content>What caches have in common.</content>
public sealed partial class KvCache
{
    /// <summary>
    /// Bytes of keys and values that other caches alive refer to as well, clones first of all. A sum over several caches counts them several times:
    /// the memory of N branches is one prefix and N times <see cref="OwnBytes"/>.
    /// </summary>
    public long SharedBytes => SharedTokens() * Layout.BytesPerToken;

    /// <summary>Bytes of keys and values that this cache alone refers to, and that <see cref="Dispose"/> would free, once their buffer is nobody's.</summary>
    public long OwnBytes
    {
        get
        {
            State state = Read();
            return (state.Evaluated - SharedTokens(state)) * Layout.BytesPerToken;
        }
    }

    /// <summary>How many tokens two caches begin with in common. What they share in memory is not compared token by token.</summary>
    public static int CommonPrefix(KvCache a, KvCache b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        State left = a.Read(), right = b.Read();
        int common = 0, i = 0, j = 0, atLeft = 0, atRight = 0;
        while (i < left.Segments.Length && j < right.Segments.Length)
        {
            KvSegment x = left.Segments[i], y = right.Segments[j];
            int count = Math.Min(x.Length - atLeft, y.Length - atRight);
            bool oneMemory = ReferenceEquals(x.Buffer, y.Buffer) && x.Start + atLeft == y.Start + atRight;
            int same = oneMemory ? count : x.Buffer.Ids.Slice(x.Start + atLeft, count).CommonPrefixLength(y.Buffer.Ids.Slice(y.Start + atRight, count));
            common += same;
            if (same < count)
            {
                return common;
            }

            (i, atLeft) = atLeft + count == x.Length ? (i + 1, 0) : (i, atLeft + count);
            (j, atRight) = atRight + count == y.Length ? (j + 1, 0) : (j, atRight + count);
        }

        // One of the two goes on, or has tokens that wait to be computed.
        while (common < left.Length && common < right.Length && left.IdAt(common) == right.IdAt(common))
        {
            common++;
        }

        return common;
    }

    private long SharedTokens() => SharedTokens(Read());

    private static long SharedTokens(State state)
    {
        long shared = 0;
        foreach (KvSegment segment in state.Segments)
        {
            shared += Math.Max(0, segment.Buffer.SharedTokens(segment.End) - segment.Start);
        }

        return shared;
    }
}

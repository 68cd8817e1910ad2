namespace PrefixTorch.Caching;

/// <summary>
/// Tokens that are being appended to a cache: their slots are claimed, and the cache does not show them until <see cref="Commit"/>.
/// </summary>
/// <remarks>
/// Used by the one appender of the cache, on the engine thread. Holds every buffer it refers to until it is disposed, so that the cache may be disposed while
/// a pass reads them. Disposing what was not committed gives the slots back.
/// </remarks>
internal sealed class KvAppend : IDisposable
{
    private readonly KvCache _cache;
    private bool _committed;
    private bool _disposed;

    /// <summary>Takes over one hold on the buffer of each of <paramref name="segments"/>.</summary>
    internal KvAppend(KvCache cache, object from, KvSegment[] segments, KvSegment[] added, int start, int count)
    {
        _cache = cache;
        From = from;
        Segments = segments;
        Added = added;
        Start = start;
        Count = count;
    }

    /// <summary>The whole chain, the new tokens included.</summary>
    public KvSegment[] Segments { get; }

    /// <summary>The slots of the new tokens, in order.</summary>
    public KvSegment[] Added { get; }

    /// <summary>What the cache was when the append began.</summary>
    internal object From { get; }

    /// <summary>Tokens that were there before: the position of the first new one.</summary>
    public int Start { get; }

    /// <summary>New tokens.</summary>
    public int Count { get; }

    /// <summary>Shows the tokens in the cache, now that their keys and values are written.</summary>
    /// <param name="logits">The logits after the last token, <c>[V]</c>, if they are known; the cache and its clones share the array.</param>
    /// <exception cref="ObjectDisposedException">The cache was disposed meanwhile.</exception>
    /// <exception cref="InvalidOperationException">Somebody else changed the cache meanwhile.</exception>
    public void Commit(float[]? logits)
    {
        _cache.Commit(this, logits);
        _committed = true;
    }

    /// <summary>Lets go of the buffers, and of the slots unless committed.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (!_committed)
        {
            foreach (KvSegment segment in Added)
            {
                segment.Buffer.Unclaim(segment.Start, segment.End);
            }
        }

        foreach (KvSegment segment in Segments)
        {
            segment.Buffer.Release();
        }
    }
}

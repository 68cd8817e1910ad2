namespace PrefixTorch.Caching;

/// <summary>
/// Tokens that are being appended to a cache: their slots are claimed, and the cache does not show them until <see cref="Commit"/>.
/// </summary>
/// <remarks>Used by the one appender of the cache, on the engine thread. Disposing what was not committed gives the slots back.</remarks>
internal sealed class KvAppend : IDisposable
{
    private readonly KvCache _cache;
    private bool _done;

    internal KvAppend(KvCache cache, KvSegment[] segments, KvSegment[] added, KvBuffer? opened, int start, int count)
    {
        _cache = cache;
        Segments = segments;
        Added = added;
        Opened = opened;
        Start = start;
        Count = count;
    }

    /// <summary>The whole chain, the new tokens included.</summary>
    public KvSegment[] Segments { get; }

    /// <summary>The slots of the new tokens, in order.</summary>
    public KvSegment[] Added { get; }

    /// <summary>The buffer that was opened for what did not fit, if any; its first holder is this append until it is committed.</summary>
    public KvBuffer? Opened { get; }

    /// <summary>Tokens that were there before: the position of the first new one.</summary>
    public int Start { get; }

    /// <summary>New tokens.</summary>
    public int Count { get; }

    /// <summary>Shows the tokens in the cache, now that their keys and values are written.</summary>
    /// <param name="logits">The logits after the last token, <c>[V]</c>, if they are known; the cache and its clones share the array.</param>
    public void Commit(float[]? logits)
    {
        _done = true;
        _cache.Commit(this, logits);
    }

    /// <summary>Gives the slots back, unless committed.</summary>
    public void Dispose()
    {
        if (!_done)
        {
            _done = true;
            KvCache.Rollback(this);
        }
    }
}

namespace PrefixTorch.Caching;

/// <summary>
/// The state of one token sequence after a model has read it: its token ids, keys and values for every layer, and, where known, the logits
/// after the last token. Hugging Face's <c>past_key_values</c>, as a value.
/// </summary>
/// <remarks>
/// <para>
/// A persistent data structure over append-only buffers. <see cref="Clone"/> copies a few views and touches no token; <see cref="Truncate"/>
/// moves the end of a view; neither changes what another cache sees, nor does anything that is appended to a clone.
/// </para>
/// <para>
/// <see cref="Clone"/>, <see cref="Dispose"/> and everything that reads are safe from any thread; a cache has one appender. No call of the library
/// changes a cache that was passed in: it works on a clone, so the caller may dispose his at once. Dispose every cache that a call
/// returned; the memory is freed with the last cache that shares it.
/// </para>
/// </remarks>
public sealed partial class KvCache : IDisposable
{
    private readonly Lock _gate = new();
    private readonly IKvCacheHost _host;
    private State _state;
    private bool _disposed;

    /// <summary>An empty cache of a model.</summary>
    internal KvCache(IKvCacheHost host)
        : this(host, State.Empty)
    {
    }

    /// <summary>A cache over segments, whose buffers it holds for itself.</summary>
    internal KvCache(IKvCacheHost host, KvSegment[] segments, float[]? logits, KvRun? run = null)
        : this(host, new State(segments, segments.Sum(segment => segment.Length), [], logits, run)) => _state.Retain();

    // Takes over the state's holds.
    private KvCache(IKvCacheHost host, State state)
    {
        _host = host;
        _state = state;
        _node = new TreeNode(this);
    }

    /// <summary>Tokens in the sequence: exactly prompt and generated ids.</summary>
    public int Length => Read().Length;

    /// <summary>Bytes of keys and values that this cache refers to, shared or not: <see cref="Length"/> × bytes per token.</summary>
    public long ByteCount => Length * Layout.BytesPerToken;

    /// <summary>The shape and type of a token's keys and values.</summary>
    public KvLayout Layout => _host.Layout;

    /// <summary>The token ids, a copy.</summary>
    public int[] Tokens
    {
        get
        {
            State state = Read();
            var ids = new int[state.Length];
            state.CopyIds(ids);
            return ids;
        }
    }

    /// <summary>Where each token came from, a copy.</summary>
    public TokenOrigin[] Origins
    {
        get
        {
            State state = Read();
            var origins = new TokenOrigin[state.Length];
            state.CopyOrigins(origins);
            return origins;
        }
    }

    /// <summary>The generation that chose the last tokens; null where they were read.</summary>
    public KvRun? Run
    {
        get => Read().Run;
        internal set
        {
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                _state = _state with { Run = value };
            }
        }
    }

    /// <summary>Whether the logits after the last token are known, so that continuing with nothing new needs no forward pass.</summary>
    public bool HasLogits => Read().Logits is not null;

    /// <summary>The model this cache belongs to.</summary>
    internal IKvCacheHost Host => _host;

    /// <summary>Tokens whose keys and values are there; the last sampled one's may not be yet.</summary>
    internal int EvaluatedLength => Read().Evaluated;

    /// <summary>The logits after the last token, <c>[V]</c>, or null; shared and never written.</summary>
    internal float[]? Logits => Read().Logits;

    /// <summary>The chain of views over the evaluated tokens. Hold a clone while you use it.</summary>
    internal KvSegment[] Segments => Read().Segments;

    /// <summary>For each evaluated token, whether a forward pass began with it: the pieces that the sequence was read in.</summary>
    internal bool[] PassStarts => Read().CopyPassStarts();

    /// <summary>The tokens that have no keys and values yet.</summary>
    internal (int Id, TokenOrigin Origin)[] Pending => Read().Pending;

    /// <summary>
    /// A cache of the same sequence that is independent from here on. Copies views, never tokens: microseconds, whatever the length.
    /// The caller disposes it.
    /// </summary>
    public KvCache Clone() => CloneFor(_host);

    /// <summary>A clone that belongs to another instance of the same model.</summary>
    internal KvCache CloneFor(IKvCacheHost host)
    {
        KvCache clone = Hold(host);
        clone._node.Join(_node);
        return clone;
    }

    /// <summary>A clone that is nobody's child: a hold for the length of a call.</summary>
    private KvCache Hold(IKvCacheHost host)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _state.Retain();
            return new KvCache(host, _state);
        }
    }

    /// <summary>
    /// Cuts the sequence to its first <paramref name="length"/> tokens. The logits after the new last token are not known; continuing from
    /// there computes one token again, and says so.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is negative or beyond <see cref="Length"/>.</exception>
    public void Truncate(int length)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            State old = _state;
            ArgumentOutOfRangeException.ThrowIfNegative(length);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(length, old.Length);
            if (length == old.Length)
            {
                return;
            }

            State cut = old.Cut(length);
            old.HandOverTo(cut);
            _state = cut;
        }
    }

    /// <summary>Lets go of the memory, which is freed with the last cache that shares it. May be called again.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            _state.Release();
            _state = State.Empty;
        }

        _node.Leave();
    }

    private State Read()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _state;
        }
    }
}

using PrefixTorch.Memory;
using TorchSharp;

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
    private const int SmallestBuffer = 64;
    private const int LargestBuffer = 4096;

    private readonly Lock _gate = new();
    private readonly IKvCacheHost _host;
    private State _state;
    private bool _disposed;

    /// <summary>An empty cache of a model.</summary>
    internal KvCache(IKvCacheHost host)
        : this(host, State.Empty)
    {
    }

    private KvCache(IKvCacheHost host, State state)
    {
        _host = host;
        _state = state;
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

    /// <summary>
    /// A cache of the same sequence that is independent from here on. Copies views, never tokens: microseconds, whatever the length.
    /// The caller disposes it.
    /// </summary>
    public KvCache Clone() => CloneFor(_host);

    /// <summary>A clone that belongs to another instance of the same model.</summary>
    internal KvCache CloneFor(IKvCacheHost host)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            foreach (KvSegment segment in _state.Segments)
            {
                segment.Buffer.Retain();
            }

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

            _state = old.Cut(length);
            for (int i = _state.Segments.Length; i < old.Segments.Length; i++)
            {
                old.Segments[i].Buffer.Release();
            }
        }
    }

    /// <summary>
    /// Keys and values of a layer, each <c>[1, KV, S, D]</c> in the cache's dtype on its device, keys rotated: what Hugging Face's
    /// <c>past_key_values[layer]</c> holds. A copy; the caller disposes both.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such layer.</exception>
    public (torch.Tensor Key, torch.Tensor Value) ToTensors(int layer)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(layer);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(layer, Layout.Layers);
        EnsureEvaluated();
        using KvCache held = Clone();
        LibTorch.EnsureLoaded();
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        KvSegment[] segments = held.Segments;
        if (segments.Length == 0)
        {
            torch.Tensor empty = torch.empty([1, Layout.KeyValueHeads, 0, Layout.HeadDim], Layout.DType.ToTorch());
            return (empty.MoveToOuterDisposeScope(), empty.clone().MoveToOuterDisposeScope());
        }

        List<torch.Tensor> keys = [], values = [];
        foreach (KvSegment segment in segments)
        {
            (torch.Tensor k, torch.Tensor v) = segment.Buffer.Tensors(layer);
            keys.Add(k.narrow(1, segment.Start, segment.Length));
            values.Add(v.narrow(1, segment.Start, segment.Length));
        }

        return (torch.cat(keys, 1).unsqueeze(0).MoveToOuterDisposeScope(), torch.cat(values, 1).unsqueeze(0).MoveToOuterDisposeScope());
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
            foreach (KvSegment segment in _state.Segments)
            {
                segment.Buffer.Release();
            }

            _state = State.Empty;
        }
    }

    /// <summary>
    /// Claims slots for new tokens behind the evaluated ones. The cache shows them once the append is committed.
    /// </summary>
    /// <param name="ids">The new tokens.</param>
    /// <param name="origins">Where they came from.</param>
    /// <param name="expected">How many tokens are likely to follow in later appends, so that a new buffer has room for them.</param>
    internal KvAppend BeginAppend(ReadOnlySpan<int> ids, ReadOnlySpan<TokenOrigin> origins, int expected = 0)
    {
        State state = Read();
        List<KvSegment> segments = [.. state.Segments];
        List<KvSegment> added = [];
        KvSegment? opened = null;
        int done = 0;
        try
        {
            if (segments.Count > 0)
            {
                KvSegment last = segments[^1];
                int fits = Math.Min(ids.Length, last.Buffer.Capacity - last.End);
                if (fits > 0 && last.Buffer.TryClaim(last.End, fits))
                {
                    segments[^1] = last with { End = last.End + fits };
                    added.Add(new KvSegment(last.Buffer, last.End, last.End + fits));
                    done = fits;
                }
            }

            if (done < ids.Length)
            {
                // Doubling, to a cap: a long chat lies in a few long buffers, and nothing is ever moved.
                int need = ids.Length - done;
                int capacity = Math.Max(need, Math.Clamp(Math.Max(state.Evaluated, need + expected), SmallestBuffer, LargestBuffer));
                KvBuffer buffer = _host.Allocate(capacity);
                buffer.TryClaim(0, need);
                opened = new KvSegment(buffer, 0, need);
                segments.Add(opened.Value);
                added.Add(opened.Value);
            }
        }
        catch
        {
            foreach (KvSegment segment in added)
            {
                segment.Buffer.Unclaim(segment.Start, segment.End);
            }

            throw;
        }

        done = 0;
        foreach (KvSegment segment in added)
        {
            ids.Slice(done, segment.Length).CopyTo(segment.Buffer.Ids[segment.Start..]);
            origins.Slice(done, segment.Length).CopyTo(segment.Buffer.Origins[segment.Start..]);
            done += segment.Length;
        }

        return new KvAppend(this, [.. segments], [.. added], opened?.Buffer, state.Evaluated, ids.Length);
    }

    /// <summary>Adds a token that has no keys and values yet; they are computed when first needed, at latest on saving.</summary>
    internal void AddPending(int id, TokenOrigin origin)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _state = _state with { Pending = [.. _state.Pending, (id, origin)], Logits = null };
        }
    }

    /// <summary>The tokens that have no keys and values yet.</summary>
    internal (int Id, TokenOrigin Origin)[] Pending => Read().Pending;

    /// <summary>Computes what is pending, on the model's thread.</summary>
    internal void EnsureEvaluated()
    {
        if (Read().Pending.Length > 0)
        {
            _host.Evaluate(this);
        }
    }

    internal void Commit(KvAppend append, float[]? logits)
    {
        lock (_gate)
        {
            if (_disposed)
            {
                append.Opened?.Release();
                throw new ObjectDisposedException(nameof(KvCache));
            }

            State old = _state;
            (int, TokenOrigin)[] pending = old.Pending.Length <= append.Count ? [] : old.Pending[append.Count..];
            _state = new State(append.Segments, append.Start + append.Count, pending, pending.Length == 0 ? logits : null);
        }
    }

    internal static void Rollback(KvAppend append)
    {
        foreach (KvSegment segment in append.Added)
        {
            segment.Buffer.Unclaim(segment.Start, segment.End);
        }

        append.Opened?.Release();
    }

    private State Read()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _state;
        }
    }

    /// <summary>What a cache is at one moment; never changed, only replaced.</summary>
    private sealed record State(KvSegment[] Segments, int Evaluated, (int Id, TokenOrigin Origin)[] Pending, float[]? Logits)
    {
        public static readonly State Empty = new([], 0, [], null);

        public int Length => Evaluated + Pending.Length;

        public void CopyIds(Span<int> to)
        {
            int done = 0;
            foreach (KvSegment segment in Segments)
            {
                segment.Buffer.Ids[segment.Start..segment.End].CopyTo(to[done..]);
                done += segment.Length;
            }

            foreach ((int id, _) in Pending)
            {
                to[done++] = id;
            }
        }

        public void CopyOrigins(Span<TokenOrigin> to)
        {
            int done = 0;
            foreach (KvSegment segment in Segments)
            {
                segment.Buffer.Origins[segment.Start..segment.End].CopyTo(to[done..]);
                done += segment.Length;
            }

            foreach ((_, TokenOrigin origin) in Pending)
            {
                to[done++] = origin;
            }
        }

        /// <summary>The first <paramref name="length"/> tokens. Holds no buffer anew: the caller lets go of the segments that fell away.</summary>
        public State Cut(int length)
        {
            if (length >= Evaluated)
            {
                return this with { Pending = Pending[..(length - Evaluated)], Logits = null };
            }

            List<KvSegment> kept = [];
            int left = length;
            foreach (KvSegment segment in Segments)
            {
                if (left == 0)
                {
                    break;
                }

                int take = Math.Min(left, segment.Length);
                kept.Add(segment with { End = segment.Start + take });
                left -= take;
            }

            return new State([.. kept], length, [], null);
        }
    }
}

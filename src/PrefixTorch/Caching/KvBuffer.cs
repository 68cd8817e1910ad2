using TorchSharp;

namespace PrefixTorch.Caching;

/// <summary>
/// An append-only buffer of tokens with their keys and values, shared by every cache that has a view into it.
/// </summary>
/// <remarks>
/// For each layer K and V are <c>[KV, capacity, D]</c>, row-major, so that one head's keys lie together; in 8 bits their scales are <c>[KV, capacity]</c>.
/// <para>
/// A buffer knows how far it is claimed. Whoever appends first at that mark claims the next slots with one compare-and-swap and goes on in
/// place; a clone that comes second finds the mark moved and opens a buffer of its own. Claimed tokens are never written again once
/// their append is committed, so they may be read from any thread.
/// </para>
/// <para>
/// Counted: each cache that has a view into the buffer is a holder, and so is an append under way; the last one to let go frees the memory. A view
/// begins at slot 0, so that its end says what it shares with others.
/// </para>
/// </remarks>
internal abstract unsafe class KvBuffer
{
    private static int s_liveCount;

    private readonly int[] _ids;
    private readonly TokenOrigin[] _origins;
    private readonly bool[] _passStarts;

    // How many caches have a view that ends there.
    private readonly Dictionary<int, int> _views = [];
    private int _claimed;
    private int _holders = 1;

    /// <summary>A buffer whose first <paramref name="claimed"/> tokens are there already. The maker is its first holder.</summary>
    protected KvBuffer(KvLayout layout, int capacity, int claimed)
    {
        Layout = layout;
        Capacity = capacity;
        _ids = new int[capacity];
        _origins = new TokenOrigin[capacity];
        _passStarts = new bool[capacity];
        _claimed = claimed;
        Interlocked.Increment(ref s_liveCount);
    }

    /// <summary>Buffers alive in this process, whatever model made them.</summary>
    public static int LiveCount => Volatile.Read(ref s_liveCount);

    /// <summary>The shape of a token's keys and values.</summary>
    public KvLayout Layout { get; }

    /// <summary>Tokens that there is room for.</summary>
    public int Capacity { get; }

    /// <summary>How far the buffer is claimed.</summary>
    public int Claimed => Volatile.Read(ref _claimed);

    /// <summary>The tokens' ids, valid where claimed.</summary>
    public Span<int> Ids => _ids;

    /// <summary>Where the tokens came from, valid where claimed.</summary>
    public Span<TokenOrigin> Origins => _origins;

    /// <summary>Whether a forward pass began with the token, valid where claimed: the pieces in which the sequence was read.</summary>
    public Span<bool> PassStarts => _passStarts;

    /// <summary>Whether the memory is the host's, so that <see cref="Keys"/> and <see cref="Values"/> may be asked for.</summary>
    public abstract bool IsHost { get; }

    /// <summary>The row of one token in one head's keys. Host buffers only.</summary>
    public abstract byte* Keys(int layer, int head, int slot);

    /// <summary>The row of one token in one head's values. Host buffers only.</summary>
    public abstract byte* Values(int layer, int head, int slot);

    /// <summary>The scale of one token in one head's keys, those of the next tokens behind it; null where the layout has none. Host buffers only.</summary>
    public abstract float* KeyScales(int layer, int head, int slot);

    /// <summary>Likewise of values.</summary>
    public abstract float* ValueScales(int layer, int head, int slot);

    /// <summary>Keys or values of one head, from one token on. Host buffers only.</summary>
    public KvPlace Place(int layer, int head, int slot, bool keys) => keys
        ? new(Layout.DType, Keys(layer, head, slot), KeyScales(layer, head, slot))
        : new(Layout.DType, Values(layer, head, slot), ValueScales(layer, head, slot));

    /// <summary>Keys and values of a layer as they are stored, each <c>[KV, capacity, D]</c>: views that the caller disposes and that must not outlive the buffer.</summary>
    public abstract (torch.Tensor Keys, torch.Tensor Values) Tensors(int layer);

    /// <summary>The scales of a layer's keys and values, each <c>[KV, capacity]</c>, where the layout has them: views likewise.</summary>
    public abstract (torch.Tensor Keys, torch.Tensor Values) Scales(int layer);

    /// <summary>Claims slots <paramref name="at"/> … <paramref name="at"/> + <paramref name="count"/> − 1, if the mark stands at <paramref name="at"/>.</summary>
    public bool TryClaim(int at, int count) =>
        at + count <= Capacity && Interlocked.CompareExchange(ref _claimed, at + count, at) == at;

    /// <summary>Gives slots back that nobody has seen, if nobody has claimed beyond them; otherwise they stay as a hole.</summary>
    public void Unclaim(int start, int end) => Interlocked.CompareExchange(ref _claimed, start, end);

    /// <summary>Adds a holder. The caller must know that there is one already.</summary>
    public void Retain() => Interlocked.Increment(ref _holders);

    /// <summary>Lets go; the last holder frees the memory.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _holders) == 0)
        {
            Interlocked.Decrement(ref s_liveCount);
            Free();
        }
    }

    /// <summary>Adds a holder with a view of the first <paramref name="end"/> tokens.</summary>
    public void RetainView(int end)
    {
        Retain();
        lock (_views)
        {
            System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_views, end, out _)++;
        }
    }

    /// <summary>Lets go of a view.</summary>
    public void ReleaseView(int end)
    {
        lock (_views)
        {
            if (--System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_views, end, out _) == 0)
            {
                _views.Remove(end);
            }
        }

        Release();
    }

    /// <summary>How many of the tokens of a view that ends at <paramref name="end"/> others see as well.</summary>
    public int SharedTokens(int end)
    {
        lock (_views)
        {
            int reached = 0;
            foreach ((int other, int count) in _views)
            {
                reached = other != end || count > 1 ? Math.Max(reached, other) : reached;
            }

            return Math.Min(reached, end);
        }
    }

    /// <summary>Frees the memory.</summary>
    protected abstract void Free();
}

using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Caching;

/// <summary>
/// An append-only buffer of tokens with their keys and values, shared by every cache that has a view into it.
/// </summary>
/// <remarks>
/// For each layer K and V are <c>[KV, capacity, D]</c>, row-major, so that one head's keys lie together.
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

    /// <summary>Buffers alive in this process: what leak tests watch.</summary>
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

    /// <summary>Keys and values of a layer, each <c>[KV, capacity, D]</c>: views that the caller disposes and that must not outlive the buffer.</summary>
    public abstract (torch.Tensor Keys, torch.Tensor Values) Tensors(int layer);

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

/// <summary>A buffer in host memory: anonymous, or a map of a state file, which is full by nature.</summary>
internal sealed unsafe class HostKvBuffer : KvBuffer
{
    private readonly NativeBlock _block;
    private readonly nint[] _keys;
    private readonly nint[] _values;

    /// <summary>An empty buffer. Memory that no token has touched is not committed by the operating system.</summary>
    public HostKvBuffer(KvLayout layout, int capacity)
        : base(layout, capacity, claimed: 0)
    {
        _block = NativeBlock.Allocate(layout.BytesPerToken * capacity);
        _keys = new nint[layout.Layers];
        _values = new nint[layout.Layers];
        long size = layout.KeyValueHeads * (long)capacity * layout.RowBytes;
        for (int layer = 0; layer < layout.Layers; layer++)
        {
            _keys[layer] = (nint)(_block.Pointer + 2 * layer * size);
            _values[layer] = (nint)(_block.Pointer + (2 * layer + 1) * size);
        }
    }

    /// <summary>A full buffer over memory that is there already; takes over the caller's hold on <paramref name="block"/>.</summary>
    public HostKvBuffer(KvLayout layout, int length, NativeBlock block, nint[] keys, nint[] values)
        : base(layout, length, claimed: length)
    {
        _block = block;
        _keys = keys;
        _values = values;
    }

    public override bool IsHost => true;

    public override byte* Keys(int layer, int head, int slot) => (byte*)_keys[layer] + ((long)head * Capacity + slot) * Layout.RowBytes;

    public override byte* Values(int layer, int head, int slot) => (byte*)_values[layer] + ((long)head * Capacity + slot) * Layout.RowBytes;

    public override (torch.Tensor Keys, torch.Tensor Values) Tensors(int layer) =>
        (NativeTensor.Over((void*)_keys[layer], Layout.DType, Layout.KeyValueHeads, Capacity, Layout.HeadDim),
         NativeTensor.Over((void*)_values[layer], Layout.DType, Layout.KeyValueHeads, Capacity, Layout.HeadDim));

    protected override void Free() => _block.Release();
}

/// <summary>A buffer on a device that libtorch drives; it owns its tensors.</summary>
internal sealed unsafe class TorchKvBuffer : KvBuffer
{
    private readonly torch.Tensor[] _keys;
    private readonly torch.Tensor[] _values;

    /// <summary>An empty buffer on <paramref name="device"/>.</summary>
    public TorchKvBuffer(KvLayout layout, int capacity, torch.Device device)
        : base(layout, capacity, claimed: 0)
    {
        LibTorch.EnsureLoaded();
        _keys = new torch.Tensor[layout.Layers];
        _values = new torch.Tensor[layout.Layers];
        for (int layer = 0; layer < layout.Layers; layer++)
        {
            _keys[layer] = Allocate();
            _values[layer] = Allocate();
        }

        // Detached: a scope of the thread that happens to append must not take the cache with it.
        torch.Tensor Allocate() =>
            torch.empty([layout.KeyValueHeads, capacity, layout.HeadDim], layout.DType.ToTorch(), device).DetachFromDisposeScope();
    }

    public override bool IsHost => false;

    public override byte* Keys(int layer, int head, int slot) => throw new InvalidOperationException("This buffer is not in host memory.");

    public override byte* Values(int layer, int head, int slot) => throw new InvalidOperationException("This buffer is not in host memory.");

    public override (torch.Tensor Keys, torch.Tensor Values) Tensors(int layer) => (_keys[layer].alias(), _values[layer].alias());

    protected override void Free()
    {
        foreach (torch.Tensor tensor in _keys.Concat(_values))
        {
            tensor.Dispose();
        }
    }
}

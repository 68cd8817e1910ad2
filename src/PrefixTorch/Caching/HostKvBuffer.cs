using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Caching;

/// <summary>A buffer in host memory: anonymous, or a map of a state file, which is full by nature.</summary>
internal sealed unsafe class HostKvBuffer : KvBuffer
{
    private readonly NativeBlock _block;
    private readonly HostKvPlanes _planes;

    /// <summary>
    /// An empty buffer. Memory that no token has touched is not committed by the operating system, except where most of it is about to be written: then it lies in huge pages where there are any, and
    /// attention, which reads a little of each head after another, seldom waits for the table of pages.
    /// </summary>
    public HostKvBuffer(KvLayout layout, int capacity, bool fills)
        : base(layout, capacity, claimed: 0)
    {
        long bytes = layout.BytesPerToken * capacity;
        _block = fills ? NativeBlock.AllocateHuge(bytes) : NativeBlock.Allocate(bytes);
        _planes = HostKvPlanes.Over(_block.Pointer, layout, capacity);
    }

    /// <summary>A buffer whose every token is about to be written, in huge pages where there are any: entering small ones would take longer than the work.</summary>
    public static HostKvBuffer ToFill(KvLayout layout, int length)
    {
        var buffer = new HostKvBuffer(layout, length, fills: true);
        buffer.TryClaim(0, length);
        return buffer;
    }

    /// <summary>A full buffer over memory that is there already; takes over the caller's hold on <paramref name="block"/>.</summary>
    public HostKvBuffer(KvLayout layout, int length, NativeBlock block, HostKvPlanes planes)
        : base(layout, length, claimed: length)
    {
        _block = block;
        _planes = planes;
    }

    public override bool IsHost => true;

    public override byte* Keys(int layer, int head, int slot) => Row(_planes.Keys, layer, head, slot);

    public override byte* Values(int layer, int head, int slot) => Row(_planes.Values, layer, head, slot);

    public override float* KeyScales(int layer, int head, int slot) => Scale(_planes.KeyScales, layer, head, slot);

    public override float* ValueScales(int layer, int head, int slot) => Scale(_planes.ValueScales, layer, head, slot);

    public override (torch.Tensor Keys, torch.Tensor Values) Tensors(int layer) =>
        (NativeTensor.Over((void*)_planes.Keys[layer], Layout.DType, Layout.KeyValueHeads, Capacity, Layout.HeadDim),
         NativeTensor.Over((void*)_planes.Values[layer], Layout.DType, Layout.KeyValueHeads, Capacity, Layout.HeadDim));

    public override (torch.Tensor Keys, torch.Tensor Values) Scales(int layer) =>
        (NativeTensor.Over((void*)_planes.KeyScales[layer], DType.Float32, Layout.KeyValueHeads, Capacity),
         NativeTensor.Over((void*)_planes.ValueScales[layer], DType.Float32, Layout.KeyValueHeads, Capacity));

    protected override void Free() => _block.Release();

    private byte* Row(nint[] layers, int layer, int head, int slot) => (byte*)layers[layer] + ((long)head * Capacity + slot) * Layout.RowBytes;

    private float* Scale(nint[] layers, int layer, int head, int slot) =>
        Layout.HasScales ? (float*)layers[layer] + ((long)head * Capacity + slot) : null;
}

/// <summary>Where each layer's keys, values and scales begin; no scales where the layout has none.</summary>
internal sealed record HostKvPlanes(nint[] Keys, nint[] Values, nint[] KeyScales, nint[] ValueScales)
{
    /// <summary>Layer after layer in one piece of memory. The scales come first: whatever a row's width, they lie aligned.</summary>
    public static unsafe HostKvPlanes Over(byte* memory, KvLayout layout, int capacity)
    {
        long heads = (long)layout.KeyValueHeads * capacity;
        byte* numbers = memory + 2 * layout.Layers * heads * layout.ScaleBytes;
        return new(Planes(numbers, 0, heads * layout.RowBytes), Planes(numbers, 1, heads * layout.RowBytes), Planes(memory, 0, heads * layout.ScaleBytes), Planes(memory, 1, heads * layout.ScaleBytes));

        nint[] Planes(byte* start, int which, long size) => [.. Enumerable.Range(0, layout.Layers).Select(layer => (nint)start + (nint)((2 * layer + which) * size))];
    }
}

using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Caching;

/// <summary>A buffer on a device that libtorch drives; it owns its tensors.</summary>
internal sealed unsafe class TorchKvBuffer : KvBuffer
{
    private readonly (torch.Tensor Keys, torch.Tensor Values)[] _numbers;
    private readonly (torch.Tensor Keys, torch.Tensor Values)[] _scales;

    /// <summary>An empty buffer on <paramref name="device"/>.</summary>
    public TorchKvBuffer(KvLayout layout, int capacity, torch.Device device)
        : base(layout, capacity, claimed: 0)
    {
        LibTorch.EnsureLoaded();
        _numbers = Allocate(layout.Layers, layout.DType, layout.KeyValueHeads, capacity, layout.HeadDim);
        _scales = Allocate(layout.HasScales ? layout.Layers : 0, DType.Float32, layout.KeyValueHeads, capacity);

        (torch.Tensor, torch.Tensor)[] Allocate(int layers, DType dtype, params long[] shape) => [.. Enumerable.Range(0, layers).Select(_ => (Empty(dtype, shape), Empty(dtype, shape)))];

        // Detached: a scope of the thread that happens to append must not take the cache with it.
        torch.Tensor Empty(DType dtype, long[] shape) => torch.empty(shape, dtype.ToTorch(), device).DetachFromDisposeScope();
    }

    public override bool IsHost => false;

    public override byte* Keys(int layer, int head, int slot) => throw NotOnHost();

    public override byte* Values(int layer, int head, int slot) => throw NotOnHost();

    public override float* KeyScales(int layer, int head, int slot) => throw NotOnHost();

    public override float* ValueScales(int layer, int head, int slot) => throw NotOnHost();

    public override (torch.Tensor Keys, torch.Tensor Values) Tensors(int layer) => (_numbers[layer].Keys.alias(), _numbers[layer].Values.alias());

    public override (torch.Tensor Keys, torch.Tensor Values) Scales(int layer) => (_scales[layer].Keys.alias(), _scales[layer].Values.alias());

    protected override void Free()
    {
        foreach ((torch.Tensor keys, torch.Tensor values) in _numbers.Concat(_scales))
        {
            keys.Dispose();
            values.Dispose();
        }
    }

    private static InvalidOperationException NotOnHost() => new("This buffer is not in host memory.");
}

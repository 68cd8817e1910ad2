using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Model;

/// <summary>A small vector of a checkpoint (a norm's weight, a bias), held as fp32.</summary>
/// <remarks>Immutable. Owns its memory.</remarks>
internal sealed unsafe class Vector : IDisposable
{
    private readonly NativeBlock _block;
    private torch.Tensor? _tensor;

    /// <summary>A vector of <paramref name="length"/> elements, to be filled by its maker.</summary>
    public Vector(int length)
    {
        Length = length;
        _block = NativeBlock.Allocate(length * sizeof(float));
    }

    /// <summary>Elements.</summary>
    public int Length { get; }

    /// <summary>The first element.</summary>
    public float* Data => (float*)_block.Pointer;

    /// <summary>The vector as libtorch sees it, on the CPU, over the same memory. Owned by this object.</summary>
    public torch.Tensor Tensor => _tensor ??= NativeTensor.Over(Data, DType.Float32, Length).DetachFromDisposeScope();

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        _tensor?.Dispose();
        _block.Release();
    }
}

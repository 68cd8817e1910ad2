using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Model;

/// <summary>
/// A matrix <c>[Rows, Columns]</c> of a checkpoint, row-major, as it is held in memory: often a view of the mapped file. It knows its own
/// storage, so that no model code asks for a dtype.
/// </summary>
/// <remarks>Immutable. Holds its block until disposed, by the weights that own it.</remarks>
internal sealed unsafe class WeightMatrix : IDisposable
{
    private readonly NativeBlock _block;
    private torch.Tensor? _tensor;

    /// <summary>A matrix at <paramref name="data"/> in <paramref name="block"/>; takes over the caller's hold on the block.</summary>
    public WeightMatrix(string name, DType dtype, int rows, int columns, NativeBlock block, byte* data)
    {
        Name = name;
        DType = dtype;
        Rows = rows;
        Columns = columns;
        _block = block;
        Data = data;
    }

    /// <summary>The tensor's name in the checkpoint.</summary>
    public string Name { get; }

    /// <summary>How the elements are stored.</summary>
    public DType DType { get; }

    /// <summary>Outputs of the product, or entries of an embedding (N).</summary>
    public int Rows { get; }

    /// <summary>Inputs of the product, or the width of an embedding (K).</summary>
    public int Columns { get; }

    /// <summary>The first element.</summary>
    public byte* Data { get; }

    /// <summary>Bytes of the matrix.</summary>
    public long ByteCount => (long)Rows * Columns * DType.Size();

    /// <summary>Whether the matrix is a view of a mapped file.</summary>
    public bool IsMapped => _block.IsMapped;

    /// <summary>The matrix as libtorch sees it, <c>[Rows, Columns]</c> on the CPU, over the same memory. Owned by this object.</summary>
    public torch.Tensor Tensor => _tensor ??= NativeTensor.Over(Data, DType, Rows, Columns).DetachFromDisposeScope();

    /// <summary>Row <paramref name="row"/> as fp32.</summary>
    public void ReadRow(KernelSet kernels, int row, float* to) =>
        kernels.Convert(DType, Data + (long)row * Columns * DType.Size(), DType.Float32, (byte*)to, Columns);

    /// <summary>Rows <paramref name="first"/> … as fp32: a block for a product that computes in fp32.</summary>
    public void Widen(KernelSet kernels, int first, int count, float* to) =>
        kernels.Convert(DType, Data + (long)first * Columns * DType.Size(), DType.Float32, (byte*)to, (long)count * Columns);

    /// <summary>Lets go of the memory.</summary>
    public void Dispose()
    {
        _tensor?.Dispose();
        _block.Release();
    }
}

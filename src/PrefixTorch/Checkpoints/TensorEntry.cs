using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>Where one tensor lies in a safetensors file. Elements are little-endian and row-major.</summary>
/// <param name="Name">The tensor's name, such as <c>model.norm.weight</c>.</param>
/// <param name="DType">The type of its elements.</param>
/// <param name="Shape">Its dimensions; none for a scalar. Not to be changed.</param>
/// <param name="Offset">Its first byte, counted from the start of the file.</param>
/// <param name="ByteCount">Its size in bytes: the product of the shape times the size of an element.</param>
internal sealed record TensorEntry(string Name, DType DType, long[] Shape, long Offset, long ByteCount)
{
    /// <summary>The number of elements: 1 for a scalar, 0 where a dimension is 0.</summary>
    public long ElementCount => ByteCount / DType.Size();

    /// <summary>Whether the first element lies at a multiple of its size, so that it can be used where it is.</summary>
    public bool IsAligned => Offset % DType.Size() == 0;

    /// <inheritdoc/>
    public override string ToString() => $"{Name} {DType.FileName()} {TensorShape.Format(Shape)}";
}

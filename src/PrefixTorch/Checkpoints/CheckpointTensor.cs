using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>One tensor of a checkpoint: which file holds it, and where.</summary>
/// <param name="File">The file that holds it; owned by the checkpoint.</param>
/// <param name="Entry">Where in the file.</param>
internal sealed unsafe record CheckpointTensor(SafetensorsFile File, TensorEntry Entry)
{
    /// <summary>The tensor's name.</summary>
    public string Name => Entry.Name;

    /// <summary>The type of its elements.</summary>
    public DType DType => Entry.DType;

    /// <summary>Its dimensions. Not to be changed.</summary>
    public long[] Shape => Entry.Shape;

    /// <summary>Its size in bytes.</summary>
    public long ByteCount => Entry.ByteCount;

    /// <summary>The map that it lies in: <see cref="NativeBlock.Retain"/> it to keep the pointer beyond the checkpoint.</summary>
    public NativeBlock Block => File.Block;

    /// <summary>Its first byte, in the map: valid while somebody holds <see cref="Block"/>. See <see cref="TensorEntry.IsAligned"/>.</summary>
    public byte* Pointer => File.Pointer(Entry);

    /// <summary>Its bytes, where they are no more than 2 GB.</summary>
    public ReadOnlySpan<byte> Bytes => File.Bytes(Entry);

    /// <inheritdoc/>
    public override string ToString() => $"{Entry} in {Path.GetFileName(File.Path)}";
}

using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>The shape of one token's keys and values: what a model makes and a cache holds.</summary>
/// <param name="Layers">Decoder layers.</param>
/// <param name="KeyValueHeads">Key/value heads of a layer (KV).</param>
/// <param name="HeadDim">Elements of a head (D).</param>
/// <param name="DType">How they are stored: floating-point numbers, or <see cref="Memory.DType.Int8"/> with one fp32 scale for each head, token, and key or value.</param>
public sealed record KvLayout(int Layers, int KeyValueHeads, int HeadDim, DType DType)
{
    /// <summary>Bytes that one token takes: keys and values of every layer.</summary>
    public long BytesPerToken => 2L * Layers * KeyValueHeads * (RowBytes + ScaleBytes);

    /// <summary>Whether rows are 8-bit integers, each with a scale.</summary>
    internal bool HasScales => DType == DType.Int8;

    /// <summary>What keys and values are as plain tensors: as they are stored, or fp32 where that is 8 bits.</summary>
    internal DType NumberType => HasScales ? DType.Float32 : DType;

    /// <summary>Bytes of a row's scale.</summary>
    internal int ScaleBytes => HasScales ? sizeof(float) : 0;

    /// <summary>Bytes between the rows of one head: <c>D</c> elements.</summary>
    internal int RowBytes => HeadDim * DType.Size();
}

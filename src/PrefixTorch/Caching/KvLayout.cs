using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>The shape of one token's keys and values: what a model makes and a cache holds.</summary>
/// <param name="Layers">Decoder layers.</param>
/// <param name="KeyValueHeads">Key/value heads of a layer (KV).</param>
/// <param name="HeadDim">Elements of a head (D).</param>
/// <param name="DType">How they are stored.</param>
public sealed record KvLayout(int Layers, int KeyValueHeads, int HeadDim, DType DType)
{
    /// <summary>Bytes that one token takes: keys and values of every layer.</summary>
    public long BytesPerToken => 2L * Layers * KeyValueHeads * HeadDim * DType.Size();

    /// <summary>Bytes between the rows of one head: <c>D</c> elements.</summary>
    internal int RowBytes => HeadDim * DType.Size();
}

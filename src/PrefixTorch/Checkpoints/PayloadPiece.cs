namespace PrefixTorch.Checkpoints;

/// <summary>A run of native memory: part of a tensor's bytes, such as one head's rows in one segment of a cache.</summary>
/// <param name="Pointer">The first byte.</param>
/// <param name="ByteCount">How many.</param>
internal readonly unsafe record struct PayloadPiece(nint Pointer, long ByteCount)
{
    /// <summary>A run from a pointer.</summary>
    public PayloadPiece(byte* pointer, long byteCount) : this((nint)pointer, byteCount)
    {
    }
}

using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>A tensor that <see cref="SafetensorsWriter"/> writes.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="DType">The type of its elements.</param>
/// <param name="Shape">Its dimensions; none for a scalar.</param>
/// <param name="WritePayload">
/// Hands over its bytes, row-major and little-endian, in as many pieces as it likes. Called once, when the tensor's turn comes; each
/// piece may be overwritten as soon as the call that took it returns, so that a tensor larger than memory can be made as it is written.
/// </param>
internal sealed record TensorToWrite(string Name, DType DType, long[] Shape, Action<PayloadWriter> WritePayload)
{
    /// <summary>A tensor whose bytes lie in one managed array.</summary>
    public TensorToWrite(string name, DType dtype, long[] shape, ReadOnlyMemory<byte> payload)
        : this(name, dtype, shape, writer => writer.Write(payload.Span))
    {
    }

    /// <summary>A tensor whose bytes lie in pieces of native memory, which the caller keeps alive until the file is written.</summary>
    public TensorToWrite(string name, DType dtype, long[] shape, IEnumerable<PayloadPiece> pieces)
        : this(name, dtype, shape, writer => writer.Write(pieces))
    {
    }
}

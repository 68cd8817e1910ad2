using System.Buffers.Binary;

namespace PrefixTorch.Tokenization;

/// <summary>Walks the fields of one protobuf message: the whole of that format that a SentencePiece model needs.</summary>
internal ref struct ProtobufReader(string file, ReadOnlySpan<byte> message)
{
    private ReadOnlySpan<byte> _rest = message;

    /// <summary>The number of the current field.</summary>
    public int Field { get; private set; }

    /// <summary>The current field's number, flag or enumeration value.</summary>
    public ulong Value { get; private set; }

    /// <summary>The current field's bytes: a text or a message.</summary>
    public ReadOnlySpan<byte> Bytes { get; private set; }

    /// <summary>The current field as a 32-bit float.</summary>
    public readonly float Single => BitConverter.UInt32BitsToSingle((uint)Value);

    /// <summary>Goes on to the next field; false at the end of the message.</summary>
    public bool Next()
    {
        if (_rest.IsEmpty)
        {
            return false;
        }

        ulong key = Varint();
        Field = (int)(key >> 3);
        Value = 0;
        Bytes = default;
        switch (key & 7)
        {
            case 0:
                Value = Varint();
                break;
            case 1:
                Value = BinaryPrimitives.ReadUInt64LittleEndian(Take(8));
                break;
            case 2:
                Bytes = Take(Varint());
                break;
            case 5:
                Value = BinaryPrimitives.ReadUInt32LittleEndian(Take(4));
                break;
            default:
                throw new TokenizerException($"{file} is not a SentencePiece model: field {Field} has wire type {key & 7}.");
        }

        return true;
    }

    private ulong Varint()
    {
        ulong value = 0;
        for (int shift = 0; shift < 64; shift += 7)
        {
            byte next = Take(1)[0];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
            {
                return value;
            }
        }

        throw new TokenizerException($"{file} is not a SentencePiece model: a number has more than 64 bits.");
    }

    private ReadOnlySpan<byte> Take(ulong count)
    {
        if (count > (ulong)_rest.Length)
        {
            throw new TokenizerException($"{file} ends in the middle of a SentencePiece model: {count} bytes are due, {_rest.Length} are left; get it again.");
        }

        ReadOnlySpan<byte> taken = _rest[..(int)count];
        _rest = _rest[(int)count..];
        return taken;
    }
}

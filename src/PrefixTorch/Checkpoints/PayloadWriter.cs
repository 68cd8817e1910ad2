using System.IO.Hashing;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace PrefixTorch.Checkpoints;

/// <summary>
/// Takes a file's bytes in pieces and writes them in few large calls: small pieces are gathered, large ones go to the file from
/// where they lie. Belongs to one writing thread.
/// </summary>
internal sealed unsafe class PayloadWriter : IDisposable
{
    // Gathered in the second-level cache. A piece that is large enough by itself is not worth copying.
    private const int BufferByteCount = 1 << 20;
    private const int DirectByteCount = 1 << 18;

    // One call writes so much at most, so that cancelling a large file is prompt.
    private const int CallByteCount = 64 << 20;

    private readonly SafeFileHandle _file;
    private readonly CancellationToken _cancellation;
    private readonly XxHash3? _hash;
    private byte* _buffer = (byte*)NativeMemory.AlignedAlloc(BufferByteCount, 4096);
    private int _buffered;
    private long _fileOffset;

    /// <summary>A writer that begins at a place in a file. The caller disposes it, and the file.</summary>
    public PayloadWriter(SafeFileHandle file, long fileOffset, bool checksums, CancellationToken cancellation)
    {
        _file = file;
        _fileOffset = fileOffset;
        _hash = checksums ? new XxHash3() : null;
        _cancellation = cancellation;
    }

    /// <summary>Bytes taken so far, over all tensors.</summary>
    public long ByteCount { get; private set; }

    /// <summary>Takes bytes that may change as soon as this returns.</summary>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* pointer = bytes)
        {
            Write(pointer, bytes.Length);
        }
    }

    /// <summary>Takes pieces one after another; each is done with before the next is asked for.</summary>
    public void Write(IEnumerable<PayloadPiece> pieces)
    {
        foreach (PayloadPiece piece in pieces)
        {
            Write((byte*)piece.Pointer, piece.ByteCount);
        }
    }

    /// <summary>Takes bytes that may change as soon as this returns.</summary>
    public void Write(byte* pointer, long byteCount)
    {
        ObjectDisposedException.ThrowIf(_buffer is null, this);
        ArgumentOutOfRangeException.ThrowIfNegative(byteCount);
        ByteCount += byteCount;
        while (byteCount > 0)
        {
            int count = (int)Math.Min(byteCount, CallByteCount);
            var bytes = new ReadOnlySpan<byte>(pointer, count);
            _hash?.Append(bytes);
            Take(bytes);
            pointer += count;
            byteCount -= count;
        }
    }

    /// <summary>Sends what is gathered to the file.</summary>
    public void Flush()
    {
        if (_buffered > 0)
        {
            Send(new ReadOnlySpan<byte>(_buffer, _buffered));
            _buffered = 0;
        }
    }

    /// <summary>XXH3 of the bytes since the last call, or null where none is kept.</summary>
    public ulong? TakeChecksum()
    {
        ulong? checksum = _hash?.GetCurrentHashAsUInt64();
        _hash?.Reset();
        return checksum;
    }

    /// <summary>Frees the buffer; what is gathered in it is lost.</summary>
    public void Dispose()
    {
        NativeMemory.AlignedFree(_buffer);
        _buffer = null;
    }

    private void Take(ReadOnlySpan<byte> bytes)
    {
        bool direct = bytes.Length >= DirectByteCount;
        if (direct || bytes.Length > BufferByteCount - _buffered)
        {
            Flush();
        }

        if (direct)
        {
            Send(bytes);
            return;
        }

        bytes.CopyTo(new Span<byte>(_buffer + _buffered, bytes.Length));
        _buffered += bytes.Length;
    }

    private void Send(ReadOnlySpan<byte> bytes)
    {
        _cancellation.ThrowIfCancellationRequested();
        RandomAccess.Write(_file, bytes, _fileOffset);
        _fileOffset += bytes.Length;
    }
}

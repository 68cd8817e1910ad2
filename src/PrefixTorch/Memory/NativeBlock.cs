using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;

namespace PrefixTorch.Memory;

/// <summary>
/// A counted piece of native memory: anonymous and aligned, or a read-only map of a file. Weights and the KV cache lie in such
/// blocks; kernels use the pointer, libtorch a tensor over it. One owner, one copy.
/// </summary>
/// <remarks>
/// A new block has one holder, its maker. Every further holder calls <see cref="Retain"/>, and every holder
/// <see cref="Release"/> once; the last one frees the memory. Counting is thread-safe. A finalizer frees a block that all holders
/// forgot, so that a lost object is a delay and not a leak.
/// </remarks>
internal sealed unsafe class NativeBlock
{
    /// <summary>Alignment of anonymous blocks: a cache line, and the widest vector.</summary>
    public const int Alignment = 64;

    private static long s_liveBytes;
    private static int s_liveCount;

    private readonly MemoryMappedFile? _file;
    private readonly MemoryMappedViewAccessor? _view;
    private byte* _pointer;
    private int _holders = 1;

    private NativeBlock(byte* pointer, long byteCount, MemoryMappedFile? file = null, MemoryMappedViewAccessor? view = null)
    {
        _pointer = pointer;
        ByteCount = byteCount;
        _file = file;
        _view = view;
        Interlocked.Increment(ref s_liveCount);
        if (!IsMapped)
        {
            Interlocked.Add(ref s_liveBytes, byteCount);
            if (byteCount > 0)
            {
                GC.AddMemoryPressure(byteCount);
            }
        }
    }

    /// <summary>Anonymous bytes alive in this process, over all blocks: what leak tests watch.</summary>
    public static long LiveBytes => Interlocked.Read(ref s_liveBytes);

    /// <summary>Blocks alive in this process, maps included.</summary>
    public static int LiveCount => Volatile.Read(ref s_liveCount);

    /// <summary>Size in bytes.</summary>
    public long ByteCount { get; }

    /// <summary>Whether the block is a read-only map of a file.</summary>
    public bool IsMapped => _file is not null;

    /// <summary>The first byte. Valid while somebody holds the block.</summary>
    public byte* Pointer => _pointer is not null ? _pointer : throw new ObjectDisposedException(nameof(NativeBlock));

    /// <summary>Anonymous memory, 64-byte aligned, its content undefined. The caller is its first holder.</summary>
    public static NativeBlock Allocate(long byteCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(byteCount);
        var pointer = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(byteCount, 1), Alignment);
        return new NativeBlock(pointer, byteCount);
    }

    /// <summary>
    /// Anonymous memory in huge pages where the system gives them (Linux), its content undefined: for what is large and read over and over,
    /// as weights are. The caller is its first holder.
    /// </summary>
    public static NativeBlock AllocateHuge(long byteCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(byteCount);
        if (byteCount < MemoryPages.HugeByteCount)
        {
            return Allocate(byteCount);
        }

        var pointer = (byte*)NativeMemory.AlignedAlloc((nuint)byteCount, MemoryPages.HugeByteCount);
        MemoryPages.WantHuge(pointer, byteCount);
        return new NativeBlock(pointer, byteCount);
    }

    /// <summary>A read-only map of a whole file, which must not be empty. The caller is its first holder.</summary>
    /// <exception cref="IOException">The file cannot be opened or mapped.</exception>
    public static NativeBlock Map(string path)
    {
        // Share.Delete: a state file may be replaced by rename while an older map of it lives on.
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, bufferSize: 0);
        long length = stream.Length;
        MemoryMappedFile? file = null;
        MemoryMappedViewAccessor? view = null;
        try
        {
            file = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
            view = file.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
            byte* pointer = null;
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
            return new NativeBlock(pointer + view.PointerOffset, length, file, view);
        }
        catch
        {
            view?.Dispose();
            file?.Dispose();
            throw;
        }
    }

    /// <summary>Adds a holder.</summary>
    /// <exception cref="ObjectDisposedException">The last holder has already let go.</exception>
    public NativeBlock Retain()
    {
        int holders = Volatile.Read(ref _holders);
        while (true)
        {
            ObjectDisposedException.ThrowIf(holders <= 0, this);
            int seen = Interlocked.CompareExchange(ref _holders, holders + 1, holders);
            if (seen == holders)
            {
                return this;
            }

            holders = seen;
        }
    }

    /// <summary>Lets go; the last holder frees the memory.</summary>
    public void Release()
    {
        int left = Interlocked.Decrement(ref _holders);
        if (left == 0)
        {
            Free();
        }
        else if (left < 0)
        {
            throw new InvalidOperationException("A native block was released more often than it was held.");
        }
    }

    /// <summary>Frees what all holders forgot.</summary>
    ~NativeBlock() => Free();

    private void Free()
    {
        if (_pointer is null)
        {
            return;
        }

        Interlocked.Decrement(ref s_liveCount);
        if (_view is not null)
        {
            _pointer = null;
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
            _view.Dispose();
            _file!.Dispose();
            return;
        }

        NativeMemory.AlignedFree(_pointer);
        _pointer = null;
        Interlocked.Add(ref s_liveBytes, -ByteCount);
        if (ByteCount > 0)
        {
            GC.RemoveMemoryPressure(ByteCount);
        }
    }
}

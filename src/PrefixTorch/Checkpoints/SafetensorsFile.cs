using System.Buffers.Binary;
using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>
/// A safetensors file, mapped read-only and checked from end to end: after <see cref="Open"/> every entry lies within the file,
/// is as long as its dtype and shape say, and shares no byte with another.
/// </summary>
/// <remarks>
/// Safe to read from any thread. The file holds its <see cref="Block"/>; whoever keeps a pointer beyond <see cref="Dispose"/>
/// calls <see cref="NativeBlock.Retain"/> first. The bytes themselves are not read here: a page is when it is first touched.
/// A file that another process cuts short while it is mapped cannot be defended against; replace files by rename.
/// </remarks>
internal sealed unsafe class SafetensorsFile : IDisposable
{
    private NativeBlock? _block;

    private SafetensorsFile(string path, NativeBlock block, SafetensorsHeader header)
    {
        Path = path;
        _block = block;
        Metadata = header.Metadata;
        Tensors = header.Tensors;
    }

    /// <summary>The path that it was opened by.</summary>
    public string Path { get; }

    /// <summary>The strings under <c>__metadata__</c>; empty where there are none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The tensors by name, in the header's order.</summary>
    public IReadOnlyDictionary<string, TensorEntry> Tensors { get; }

    /// <summary>The map of the whole file. Held by this object until it is disposed.</summary>
    public NativeBlock Block => _block ?? throw new ObjectDisposedException(nameof(SafetensorsFile), Path);

    /// <summary>Maps and checks a file. The caller disposes it.</summary>
    /// <exception cref="CheckpointException">The file cannot be opened, or breaks a rule of the format.</exception>
    public static SafetensorsFile Open(string path)
    {
        NativeBlock block = Map(path);
        try
        {
            return new SafetensorsFile(path, block, SafetensorsHeader.Read(path, HeaderJson(path, block), block.ByteCount));
        }
        catch
        {
            block.Release();
            throw;
        }
    }

    /// <summary>A tensor of this file by name.</summary>
    /// <exception cref="CheckpointException">There is none of that name.</exception>
    public TensorEntry this[string name] => Tensors.TryGetValue(name, out TensorEntry? entry)
        ? entry
        : throw new CheckpointException(CheckpointError.NotFound, Path, $"there is no tensor '{name}' among its {Tensors.Count}. Is it the right file?");

    /// <summary>The first byte of a tensor of this file: valid while somebody holds <see cref="Block"/>.</summary>
    public byte* Pointer(TensorEntry entry) => Block.Pointer + entry.Offset;

    /// <summary>The bytes of a tensor of this file that is no larger than 2 GB: valid while somebody holds <see cref="Block"/>.</summary>
    public ReadOnlySpan<byte> Bytes(TensorEntry entry) => new(Pointer(entry), checked((int)entry.ByteCount));

    /// <summary>Lets the map go. Doing so twice is harmless.</summary>
    public void Dispose() => Interlocked.Exchange(ref _block, null)?.Release();

    private static NativeBlock Map(string path)
    {
        try
        {
            if (Directory.Exists(path))
            {
                throw new CheckpointException(CheckpointError.NotFound, path, "that is a folder, and a file is needed. Give one of the files in it.");
            }

            // An empty file cannot be mapped; so short a one is no safetensors file.
            long length = new FileInfo(path).Length;
            if (length < SafetensorsHeader.PrefixByteCount)
            {
                throw new CheckpointException(CheckpointError.FileTooShort, path, $"the file has {length} bytes; a safetensors file has at least {SafetensorsHeader.PrefixByteCount}. {SafetensorsHeader.Damaged}");
            }

            return NativeBlock.Map(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(CheckpointError.NotFound, path, $"the file cannot be opened ({error.Message}). Check the path and that it may be read.", error);
        }
    }

    private static ReadOnlySpan<byte> HeaderJson(string path, NativeBlock block)
    {
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(block.Pointer, SafetensorsHeader.PrefixByteCount));
        if (length > SafetensorsHeader.MaxByteCount)
        {
            throw new CheckpointException(CheckpointError.HeaderTooLarge, path, $"the header's length is {length} bytes, more than the {SafetensorsHeader.MaxByteCount} that are allowed. {SafetensorsHeader.Damaged}");
        }

        if (length == 0 || (long)length > block.ByteCount - SafetensorsHeader.PrefixByteCount)
        {
            throw new CheckpointException(CheckpointError.InvalidHeaderLength, path, $"the header's length is {length} bytes, but {block.ByteCount - SafetensorsHeader.PrefixByteCount} follow. {SafetensorsHeader.Damaged}");
        }

        return new ReadOnlySpan<byte>(block.Pointer + SafetensorsHeader.PrefixByteCount, (int)length);
    }
}

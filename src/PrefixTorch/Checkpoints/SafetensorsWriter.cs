using System.Buffers.Binary;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>
/// Writes safetensors files that are there whole or not at all: into a temporary file of the same folder, which takes the target's
/// name at the end. A failure removes the temporary file and leaves what was there before.
/// </summary>
internal static class SafetensorsWriter
{
    // The data begin at a multiple of this, so that a map of the file serves vectors and direct I/O as it is.
    private const int DataAlignment = 64;

    private static readonly UTF8Encoding s_strictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Writes a file. Tensors lie in the order given, without gaps: put wide elements first, so that all are aligned.</summary>
    /// <param name="path">The file, which is replaced if it is there.</param>
    /// <param name="tensors">The tensors, under names that differ.</param>
    /// <param name="metadata">Strings for <c>__metadata__</c>, in their order.</param>
    /// <param name="options">Flushing, checksums and cancellation.</param>
    /// <exception cref="CheckpointException">The file cannot be written (<see cref="CheckpointError.NotWritten"/>), a name occurs twice, or a payload is not as long as its shape says.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void Write(
        string path,
        IReadOnlyList<TensorToWrite> tensors,
        IReadOnlyDictionary<string, string>? metadata = null,
        SafetensorsWriteOptions? options = null)
    {
        options ??= new SafetensorsWriteOptions();
        long[] byteCounts = [.. tensors.Select(tensor => ByteCount(path, tensor))];
        var checksums = options.Checksums ? new ulong[tensors.Count] : null;
        byte[] header = Header(path, tensors, byteCounts, metadata, checksums);
        string full = Path.GetFullPath(path);
        string temporary = Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.{Guid.NewGuid():N}.tmp");
        try
        {
            // Its room is taken at once: a full disk is found before the work, and the rename need not wait for ext4 to find room.
            using (SafeFileHandle file = File.OpenHandle(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, FileOptions.None, checked(header.Length + byteCounts.Sum())))
            {
                WritePayload(path, file, header.Length, tensors, byteCounts, checksums, options.Cancellation);
                RandomAccess.Write(file, checksums is null ? header : Header(path, tensors, byteCounts, metadata, checksums), 0);
                if (options.FlushToDisk)
                {
                    RandomAccess.FlushToDisk(file);
                }
            }

            File.Move(temporary, full, overwrite: true);
        }
        catch (Exception error)
        {
            Remove(temporary);
            if (error is IOException or UnauthorizedAccessException)
            {
                throw new CheckpointException(CheckpointError.NotWritten, path, $"the file cannot be written ({error.Message}). Check the folder, its permissions and the space on the disk; what was there before is untouched.", error);
            }

            throw;
        }
    }

    private static void WritePayload(string path, SafeFileHandle file, long offset, IReadOnlyList<TensorToWrite> tensors, long[] byteCounts, ulong[]? checksums, CancellationToken cancellation)
    {
        using var writer = new PayloadWriter(file, offset, checksums is not null, cancellation);
        for (int i = 0; i < tensors.Count; i++)
        {
            long before = writer.ByteCount;
            tensors[i].WritePayload(writer);
            if (writer.ByteCount - before != byteCounts[i])
            {
                throw new CheckpointException(
                    CheckpointError.SizeMismatch,
                    path,
                    $"tensor '{tensors[i].Name}' has shape {TensorShape.Format(tensors[i].Shape)} of {tensors[i].DType.FileName()}, which takes {byteCounts[i]} bytes, but {writer.ByteCount - before} were given. Give all of it, or its true shape.");
            }

            if (checksums is not null)
            {
                checksums[i] = writer.TakeChecksum()!.Value;
            }
        }

        writer.Flush();
    }

    // The length, the JSON and its padding. The same length whatever the checksums are.
    private static byte[] Header(string path, IReadOnlyList<TensorToWrite> tensors, long[] byteCounts, IReadOnlyDictionary<string, string>? metadata, ulong[]? checksums)
    {
        using var stream = new MemoryStream();
        stream.Write(stackalloc byte[SafetensorsHeader.PrefixByteCount]);
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            var names = new HashSet<string>(StringComparer.Ordinal) { SafetensorsHeader.MetadataName };
            json.WriteStartObject();
            WriteMetadata(path, json, tensors, metadata, checksums);
            long begin = 0;
            for (int i = 0; i < tensors.Count; i++)
            {
                WriteEntry(json, CheckName(path, names, tensors[i].Name), tensors[i], begin, begin + byteCounts[i]);
                begin += byteCounts[i];
            }

            json.WriteEndObject();
        }

        while (stream.Length % DataAlignment != 0)
        {
            stream.WriteByte((byte)' ');
        }

        byte[] header = stream.ToArray();
        BinaryPrimitives.WriteInt64LittleEndian(header, header.Length - SafetensorsHeader.PrefixByteCount);
        return header;
    }

    private static void WriteMetadata(string path, Utf8JsonWriter json, IReadOnlyList<TensorToWrite> tensors, IReadOnlyDictionary<string, string>? metadata, ulong[]? checksums)
    {
        if (metadata is not { Count: > 0 } && checksums is null)
        {
            return;
        }

        var keys = new HashSet<string>(StringComparer.Ordinal);
        json.WriteStartObject(SafetensorsHeader.MetadataName);
        foreach ((string key, string value) in metadata ?? new Dictionary<string, string>())
        {
            CheckText(path, value);
            json.WriteString(CheckName(path, keys, key), value);
        }

        for (int i = 0; i < (checksums?.Length ?? 0); i++)
        {
            json.WriteString(CheckName(path, keys, SafetensorsWriteOptions.ChecksumPrefix + tensors[i].Name), $"{checksums![i]:x16}");
        }

        json.WriteEndObject();
    }

    private static void WriteEntry(Utf8JsonWriter json, string name, TensorToWrite tensor, long begin, long end)
    {
        json.WriteStartObject(name);
        json.WriteString("dtype"u8, tensor.DType.FileName());
        json.WriteStartArray("shape"u8);
        foreach (long dimension in tensor.Shape)
        {
            json.WriteNumberValue(dimension);
        }

        json.WriteEndArray();
        json.WriteStartArray("data_offsets"u8);
        json.WriteNumberValue(begin);
        json.WriteNumberValue(end);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string CheckName(string path, HashSet<string> names, string name)
    {
        CheckText(path, name);
        return names.Add(name)
            ? name
            : throw new CheckpointException(CheckpointError.DuplicateName, path, $"the name '{name}' is given twice, or reserved. Names in one file must differ.");
    }

    // Half a surrogate pair would be written as a replacement character, and read as another name.
    private static void CheckText(string path, string text)
    {
        try
        {
            s_strictUtf8.GetByteCount(text);
        }
        catch (EncoderFallbackException error)
        {
            throw new CheckpointException(CheckpointError.InvalidHeader, path, $"the text '{text}' is not valid Unicode ({error.Message}). Give another.", error);
        }
    }

    private static long ByteCount(string path, TensorToWrite tensor) => TensorShape.ByteCount(tensor.Shape, tensor.DType.Size())
        ?? throw new CheckpointException(CheckpointError.InvalidShape, path, $"tensor '{tensor.Name}' has shape {TensorShape.Format(tensor.Shape)} of {tensor.DType.FileName()}: a dimension is negative or the product does not fit in 64 bits. Give its true shape.");

    private static void Remove(string temporary)
    {
        try
        {
            File.Delete(temporary);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report; the leftover has a name that nobody reads.
        }
    }
}

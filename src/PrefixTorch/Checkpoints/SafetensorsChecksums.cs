using System.Globalization;
using System.IO.Hashing;

namespace PrefixTorch.Checkpoints;

/// <summary>Verifies the checksums that <see cref="SafetensorsWriter"/> keeps in a file's metadata.</summary>
internal static unsafe class SafetensorsChecksums
{
    /// <summary>XXH3 of a tensor's bytes. Reads all of them.</summary>
    public static ulong Compute(SafetensorsFile file, TensorEntry entry)
    {
        var hash = new XxHash3();
        byte* pointer = file.Pointer(entry);
        for (long offset = 0; offset < entry.ByteCount;)
        {
            int count = (int)Math.Min(entry.ByteCount - offset, 1 << 30);
            hash.Append(new ReadOnlySpan<byte>(pointer + offset, count));
            offset += count;
        }

        return hash.GetCurrentHashAsUInt64();
    }

    /// <summary>The checksum that the file keeps for a tensor, or null where it keeps none.</summary>
    /// <exception cref="CheckpointException">What stands there is no checksum.</exception>
    public static ulong? Kept(SafetensorsFile file, TensorEntry entry)
    {
        if (!file.Metadata.TryGetValue(SafetensorsWriteOptions.ChecksumPrefix + entry.Name, out string? text))
        {
            return null;
        }

        return text.Length == 16 && ulong.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong checksum)
            ? checksum
            : throw new CheckpointException(CheckpointError.InvalidMetadata, file.Path, $"the checksum of tensor '{entry.Name}' is '{text}', not 16 hex digits. {SafetensorsHeader.Damaged}");
    }

    /// <summary>Compares one tensor with its checksum; false where the file keeps none.</summary>
    /// <exception cref="CheckpointException">The bytes are not those that were written.</exception>
    public static bool Verify(SafetensorsFile file, TensorEntry entry)
    {
        if (Kept(file, entry) is not ulong kept)
        {
            return false;
        }

        ulong found = Compute(file, entry);
        return found == kept
            ? true
            : throw new CheckpointException(CheckpointError.ChecksumMismatch, file.Path, $"tensor '{entry.Name}' has the checksum {found:x16}, but {kept:x16} was written. The file is damaged: restore it from a copy, or make it again.");
    }

    /// <summary>Compares every tensor that has a checksum; gives how many have.</summary>
    /// <exception cref="CheckpointException">The bytes of one are not those that were written.</exception>
    public static int VerifyAll(SafetensorsFile file) => file.Tensors.Values.Count(entry => Verify(file, entry));
}

using System.Buffers.Binary;
using System.Text;

namespace PrefixTorch.Memory;

/// <summary>
/// The symbol versions that an ELF file asks of the libraries it needs (section <c>.gnu.version_r</c>; see the Linux Standard
/// Base, "Symbol Versioning"), and the one change we make to them: a version may be marked weak, after which the loader warns of its absence
/// instead of refusing the file.
/// </summary>
internal static class ElfVersionNeeds
{
    private const uint SectionTypeVersionNeeds = 0x6ffffffe;
    private const ushort WeakFlag = 0x2;

    /// <summary>
    /// Marks every need of <paramref name="version"/> weak, in place.
    /// </summary>
    /// <returns>How many needs of that name there were; 0 leaves the image as it was.</returns>
    /// <exception cref="PrefixTorchException">The image is not a little-endian 64-bit ELF file.</exception>
    public static int MarkWeak(Span<byte> image, string version)
    {
        if (image.Length < 64 || !image[..6].SequenceEqual("\u007fELF\u0002\u0001"u8))
        {
            throw new PrefixTorchException("Not a little-endian 64-bit ELF file.");
        }

        int marked = 0;
        try
        {
            int sections = checked((int)U64(image, 0x28));
            int sectionSize = U16(image, 0x3a), sectionCount = U16(image, 0x3c);
            for (int i = 0; i < sectionCount; i++)
            {
                int section = sections + i * sectionSize;
                if (U32(image, section + 4) != SectionTypeVersionNeeds)
                {
                    continue;
                }

                int strings = checked((int)U64(image, sections + (int)U32(image, section + 40) * sectionSize + 24));
                marked += MarkWeak(image, checked((int)U64(image, section + 24)), strings, version);
            }
        }
        catch (Exception e) when (e is ArgumentOutOfRangeException or OverflowException or IndexOutOfRangeException)
        {
            throw new PrefixTorchException("The ELF file's section table points outside the file.", e);
        }

        return marked;
    }

    private static int MarkWeak(Span<byte> image, int need, int strings, string version)
    {
        byte[] name = Encoding.ASCII.GetBytes(version + '\0');
        int marked = 0;
        while (true)
        {
            int entry = need + (int)U32(image, need + 8);
            for (int left = U16(image, need + 2); left > 0; left--)
            {
                if (image[(strings + (int)U32(image, entry + 8))..].StartsWith(name))
                {
                    BinaryPrimitives.WriteUInt16LittleEndian(image[(entry + 4)..], (ushort)(U16(image, entry + 4) | WeakFlag));
                    marked++;
                }

                entry += (int)U32(image, entry + 12);
            }

            int next = (int)U32(image, need + 12);
            if (next == 0)
            {
                return marked;
            }

            need += next;
        }
    }

    private static ushort U16(ReadOnlySpan<byte> image, int at) => BinaryPrimitives.ReadUInt16LittleEndian(image[at..]);

    private static uint U32(ReadOnlySpan<byte> image, int at) => BinaryPrimitives.ReadUInt32LittleEndian(image[at..]);

    private static ulong U64(ReadOnlySpan<byte> image, int at) => BinaryPrimitives.ReadUInt64LittleEndian(image[at..]);
}

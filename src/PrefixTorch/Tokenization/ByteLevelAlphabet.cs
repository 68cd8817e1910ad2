using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>
/// The alphabet in which byte-level vocabularies are spelled since GPT-2: every byte is one printable character. Bytes that are
/// printable in Latin-1 stand for themselves; the other 68 (controls, space, ...) follow from U+0100 on, so a space is <c>Ġ</c>.
/// </summary>
internal static class ByteLevelAlphabet
{
    private static readonly char[] s_chars = BuildChars();
    private static readonly short[] s_bytes = BuildBytes();

    /// <summary>The character that spells a byte.</summary>
    public static char ToChar(byte value) => s_chars[value];

    /// <summary>Spells bytes; <paramref name="destination"/> takes one character for each.</summary>
    public static void ToChars(ReadOnlySpan<byte> bytes, Span<char> destination)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            destination[i] = s_chars[bytes[i]];
        }
    }

    /// <summary>The bytes that a spelling stands for; where it has a character outside the alphabet, the spelling's own UTF-8.</summary>
    public static byte[] ToBytes(string spelling)
    {
        byte[] bytes = new byte[spelling.Length];
        for (int i = 0; i < spelling.Length; i++)
        {
            int value = spelling[i] < s_bytes.Length ? s_bytes[spelling[i]] : -1;
            if (value < 0)
            {
                return Encoding.UTF8.GetBytes(spelling);
            }

            bytes[i] = (byte)value;
        }

        return bytes;
    }

    private static char[] BuildChars()
    {
        char[] chars = new char[256];
        int next = 256;
        for (int value = 0; value < 256; value++)
        {
            bool printable = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            chars[value] = (char)(printable ? value : next++);
        }

        return chars;
    }

    private static short[] BuildBytes()
    {
        short[] bytes = new short[s_chars.Max() + 1];
        Array.Fill(bytes, (short)-1);
        for (int value = 0; value < 256; value++)
        {
            bytes[s_chars[value]] = (short)value;
        }

        return bytes;
    }
}

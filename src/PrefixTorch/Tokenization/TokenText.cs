using System.Globalization;
using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>The bytes that every id stands for, laid end to end. Immutable.</summary>
internal sealed class TokenText
{
    private readonly byte[] _bytes;
    private readonly int[] _starts;

    /// <summary>Spells every token of a vocabulary out; added tokens stand for their own text.</summary>
    public TokenText(Vocabulary vocabulary, IReadOnlyDictionary<int, AddedToken> added, TokenTextOptions options, int size)
    {
        Options = options;
        var all = new MemoryStream(size * 8);
        _starts = new int[size + 1];
        for (int id = 0; id < size; id++)
        {
            all.Write(added.TryGetValue(id, out AddedToken? token) ? Encoding.UTF8.GetBytes(token.Content) : Bytes(id < vocabulary.Size ? vocabulary[id] : null));
            _starts[id + 1] = (int)all.Length;
        }

        _bytes = all.ToArray();
    }

    public TokenTextOptions Options { get; }

    /// <summary>The bytes of an id below the vocabulary's size; none for a hole in the numbering.</summary>
    public ReadOnlyMemory<byte> this[int id] => _bytes.AsMemory(_starts[id].._starts[id + 1]);

    private byte[] Bytes(string? spelling)
    {
        if (spelling is null)
        {
            return [];
        }

        if (Options.ByteLevel)
        {
            return ByteLevelAlphabet.ToBytes(spelling);
        }

        if (Options.ByteFallback && spelling.Length == 6 && spelling.StartsWith("<0x", StringComparison.Ordinal) && spelling[5] == '>'
            && byte.TryParse(spelling.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value))
        {
            return [value];
        }

        return Encoding.UTF8.GetBytes(Options.SpaceMark is { } mark ? spelling.Replace(mark, " ", StringComparison.Ordinal) : spelling);
    }
}

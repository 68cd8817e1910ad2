using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>
/// Turns ids into text one by one. A character whose bytes are spread over several tokens is held back until it is whole, so
/// no piece ends in half a character, and all pieces together are what <see cref="LlamaTokenizer.Decode"/> makes of all ids.
/// Belongs to one caller at a time; holds nothing that needs disposing.
/// </summary>
public sealed class StreamingDetokenizer
{
    private const int BytesOfACharacter = 4;

    private readonly LlamaTokenizer _tokenizer;
    private readonly TokenTextOptions _options;
    private readonly bool _skipSpecialTokens;
    private readonly StringBuilder _text = new();
    private byte[] _bytes = new byte[64];
    private int _pending;
    private int _pendingFromBefore;
    private int _spacesToStrip;
    private bool _first = true;

    internal StreamingDetokenizer(LlamaTokenizer tokenizer, TokenTextOptions options, bool skipSpecialTokens)
    {
        _tokenizer = tokenizer;
        _options = options;
        _skipSpecialTokens = skipSpecialTokens;
        _spacesToStrip = options.LeadingSpacesStripped;
    }

    /// <summary>Takes the next id and gives the text that is certain now; empty while a character is incomplete.</summary>
    /// <remarks>
    /// An id at or above <see cref="LlamaTokenizer.VocabSize"/> gives no text: a model's vocabulary is often padded beyond
    /// its tokenizer's, and a stream must not break because one such id was drawn.
    /// </remarks>
    /// <exception cref="TokenizerException"><paramref name="id"/> is negative.</exception>
    public string Add(int id)
    {
        if (id < 0)
        {
            throw _tokenizer.NoSuchId(id);
        }

        Append(id);
        return Take();
    }

    /// <summary>
    /// Begins where other ids end, and gives none of their text: a leading space stays, and a character that they leave incomplete comes out whole with
    /// the id that completes it. Where none does, its U+FFFD is theirs.
    /// </summary>
    internal void GoOnFrom(ReadOnlySpan<int> before)
    {
        // The last bytes decide: as many as a character has, or as many spaces as a text may lose.
        int start = before.Length;
        for (int bytes = 0; start > 0 && bytes < Math.Max(BytesOfACharacter, _options.LeadingSpacesStripped);)
        {
            bytes += IsText(before[--start]) ? _tokenizer.TokenBytes(before[start]).Length : 0;
        }

        if (start > 0)
        {
            LeaveStart();
        }

        foreach (int id in before[start..])
        {
            Add(id);
        }

        _pendingFromBefore = _pending;
    }

    /// <summary>Begins in the middle of a text: a leading space stays.</summary>
    internal void LeaveStart()
    {
        _first = false;
        _spacesToStrip = 0;
    }

    /// <summary>Ends the text: what is left of an incomplete character, as U+FFFD. Afterwards a new text may begin.</summary>
    public string Flush()
    {
        End();
        _first = true;
        _spacesToStrip = _options.LeadingSpacesStripped;
        return Take();
    }

    /// <summary>The text of all ids at once.</summary>
    internal string All(IReadOnlyList<int> ids)
    {
        for (int i = 0; i < ids.Count; i++)
        {
            if ((uint)ids[i] >= (uint)_tokenizer.VocabSize)
            {
                throw _tokenizer.NoSuchId(ids[i]);
            }

            Append(ids[i]);
        }

        return Flush();
    }

    private string Take()
    {
        string text = _text.ToString();
        _text.Clear();
        return text;
    }

    private bool IsText(int id) => id < _tokenizer.VocabSize && !(_skipSpecialTokens && _tokenizer.IsSpecial(id));

    private void Append(int id)
    {
        if (!IsText(id))
        {
            return;
        }

        ReadOnlySpan<byte> bytes = _tokenizer.TokenBytes(id).Span;
        if (_first && _options.StripsFirstToken && _options.SpaceMark is { } mark)
        {
            bytes = Encoding.UTF8.GetBytes(_tokenizer.TokenToString(id).Replace(mark, "", StringComparison.Ordinal));
        }

        _first = false;
        Append(bytes);
    }

    private void Append(ReadOnlySpan<byte> more)
    {
        int count = _pending + more.Length;
        if (count > _bytes.Length)
        {
            Array.Resize(ref _bytes, count * 2);
        }

        more.CopyTo(_bytes.AsSpan(_pending));
        ReadOnlySpan<byte> rest = _bytes.AsSpan(0, count);
        while (!rest.IsEmpty)
        {
            var status = Rune.DecodeFromUtf8(rest, out Rune rune, out int length);
            if (status == System.Buffers.OperationStatus.NeedMoreData)
            {
                break;
            }

            if (status == System.Buffers.OperationStatus.Done)
            {
                Emit(rune);
            }
            else
            {
                EmitInvalid(length);
            }

            _pendingFromBefore = 0;
            rest = rest[length..];
        }

        rest.CopyTo(_bytes);
        _pending = rest.Length;
    }

    private void End()
    {
        if (_pending > 0)
        {
            EmitInvalid(_pending);
            _pending = _pendingFromBefore = 0;
        }
    }

    private void Emit(Rune rune)
    {
        if (_spacesToStrip > 0)
        {
            if (rune.Value == ' ')
            {
                _spacesToStrip--;
                return;
            }

            _spacesToStrip = 0;
        }

        Span<char> utf16 = stackalloc char[2];
        _text.Append(utf16[..rune.EncodeToUtf16(utf16)]);
    }

    /// <summary>
    /// Byte-level text has one U+FFFD for each broken sequence, byte fallback one for each byte: so do Hugging Face's decoders.
    /// (Its ByteFallback also gives up the whole characters beside a broken one; here, as in SentencePiece, they stay.)
    /// </summary>
    private void EmitInvalid(int bytes)
    {
        // What an earlier text ended with has its U+FFFD there.
        int count = _options.ByteFallback ? bytes - _pendingFromBefore : _pendingFromBefore > 0 ? 0 : 1;
        for (int i = 0; i < count; i++)
        {
            Emit(Rune.ReplacementChar);
        }
    }
}

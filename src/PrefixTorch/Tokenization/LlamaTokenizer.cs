using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>
/// Text to token ids and back, as the tokenizer file of a Llama checkpoint says: Hugging Face's <c>tokenizer.json</c>, Meta's
/// <c>tokenizer.model</c> of Llama 3, or SentencePiece's <c>tokenizer.model</c> of Llama 1 and 2. Immutable and thread-safe.
/// </summary>
/// <remarks>Plain text never becomes a special token, whatever it spells, unless a call asks for it.</remarks>
public sealed class LlamaTokenizer
{
    private readonly TokenizerDefinition _definition;
    private readonly BytePairModel _model;
    private readonly TokenText _text;
    private readonly Dictionary<int, AddedToken> _addedById;
    private readonly Dictionary<string, int> _addedByText;
    private readonly Dictionary<string, int> _special;
    private readonly HashSet<int> _specialIds;
    private readonly AddedTokenFinder _finder;
    private readonly TextSplitter[] _splitters;
    private readonly Lazy<string> _fingerprint;

    internal LlamaTokenizer(TokenizerDefinition definition)
    {
        definition.Check();
        _definition = definition;
        _addedById = definition.AddedTokens.ToDictionary(token => token.Id);
        _addedByText = definition.AddedTokens.ToDictionary(token => token.Content, token => token.Id, StringComparer.Ordinal);
        _special = definition.AddedTokens.Where(token => token.Special).ToDictionary(token => token.Content, token => token.Id, StringComparer.Ordinal);
        _specialIds = [.. _special.Values];
        VocabSize = definition.VocabSize;
        _model = new BytePairModel(definition.Vocabulary, definition.Merges, definition.Options, _specialIds);
        _text = new TokenText(definition.Vocabulary, _addedById, definition.Text, VocabSize);
        _finder = new AddedTokenFinder(definition);
        _splitters = WordBoundary.Find(definition) is { } boundary ? [boundary] : [.. definition.Splitters];
        _fingerprint = new Lazy<string>(() => TokenizerFingerprint.Of(definition));
    }

    /// <summary>The highest id and one. A model's vocabulary may be padded beyond it.</summary>
    public int VocabSize { get; }

    /// <summary>What encoding with special tokens puts first; <see langword="null"/> where it puts nothing there.</summary>
    public int? BosTokenId => _definition.Prefix.Count > 0 ? _definition.Prefix[0] : null;

    /// <summary>The tokens that steer the model, by their text.</summary>
    public IReadOnlyDictionary<string, int> SpecialTokens => _special;

    /// <summary>
    /// 32 hex digits over everything that decides which ids a text becomes: vocabulary, merges, added tokens, normalization,
    /// splitting and template, but not the formatting of the file. Ids made under one fingerprint mean the same under an equal one.
    /// </summary>
    public string Fingerprint => _fingerprint.Value;

    /// <summary>Loads the tokenizer of a checkpoint.</summary>
    /// <param name="folder">
    /// A folder with <c>tokenizer.json</c> or, failing that, <c>tokenizer.model</c>, whose <c>tokenizer_config.json</c> is
    /// respected; or the path of a tokenizer file.
    /// </param>
    /// <exception cref="TokenizerException">There is no such file, it is broken, or it asks for something unknown; the message says what.</exception>
    public static LlamaTokenizer Load(string folder) => TokenizerLoader.Load(folder);

    /// <summary>Whether an id steers the model instead of standing for text.</summary>
    public bool IsSpecial(int id) => _specialIds.Contains(id);

    /// <summary>Text to ids.</summary>
    /// <param name="text">The text; half a surrogate pair counts as U+FFFD.</param>
    /// <param name="addBos">Whether the file's template is applied: usually the token that begins every sequence.</param>
    /// <param name="parseSpecial">Whether the text of a special token becomes that token; without it, it stays text.</param>
    public int[] Encode(string text, bool addBos = true, bool parseSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        int[] ids = EncodeAt(TextPlace.Start, text, parseSpecial);
        return addBos ? [.. _definition.Prefix, .. ids, .. _definition.Suffix] : ids;
    }

    /// <summary>Ids to text, as Hugging Face's <c>decode</c> without cleaning up; bytes that are no UTF-8 become U+FFFD.</summary>
    /// <remarks>An id below <see cref="VocabSize"/> that the file does not list stands for no text.</remarks>
    /// <exception cref="TokenizerException">An id is negative, or not below <see cref="VocabSize"/>.</exception>
    public string Decode(IReadOnlyList<int> ids, bool skipSpecialTokens = false) => CreateDetokenizer(skipSpecialTokens).All(ids);

    /// <summary>Text to ids where something stands before it.</summary>
    internal int[] EncodeAt(TextPlace place, string text, bool parseSpecial = false)
    {
        var scratch = new BytePairModel.Scratch(_model);
        foreach (var (part, token, partPlace) in _finder.Find(WellFormed(text), place, parseSpecial))
        {
            if (token is not null)
            {
                scratch.Output.Add(token.Id);
            }
            else
            {
                EncodeText(part, partPlace, scratch);
            }
        }

        return [.. scratch.Output];
    }

    /// <summary>What <see cref="EncodeAt"/> undoes: a space goes only where it put one.</summary>
    internal string DecodeAt(TextPlace place, IReadOnlyList<int> ids)
    {
        StreamingDetokenizer detokenizer = CreateDetokenizer();
        if (!_definition.Normalizers.Concat(_definition.Rewriters).OfType<PrefixRewriter>().Any(prefix => prefix.IsPutAt(place)))
        {
            detokenizer.LeaveStart();
        }

        return detokenizer.All(ids);
    }

    /// <summary>Where a text stands that follows these ids.</summary>
    internal TextPlace PlaceAfter(ReadOnlySpan<int> ids)
    {
        // A byte-level vocabulary has no mark that begins a word: what is put before its texts is put before each.
        if (_definition.Options.ByteLevel || ids.IsEmpty || ids.SequenceEqual((int[])[.. _definition.Prefix]))
        {
            return TextPlace.Start;
        }

        return _addedById.ContainsKey(ids[^1]) ? TextPlace.AfterToken : TextPlace.AfterText;
    }

    /// <summary>A decoder for ids that come one at a time; the caller's own, and not thread-safe.</summary>
    public StreamingDetokenizer CreateDetokenizer(bool skipSpecialTokens = false) => new(this, _text.Options, skipSpecialTokens);

    /// <summary>An id as the vocabulary spells it (a space is <c>Ġ</c> or <c>▁</c>); empty for an id that the file does not list.</summary>
    /// <exception cref="TokenizerException">The id is negative, or not below <see cref="VocabSize"/>.</exception>
    public string TokenToString(int id)
    {
        Check(id);
        return _addedById.TryGetValue(id, out AddedToken? added) ? added.Content : id < _definition.Vocabulary.Size ? _definition.Vocabulary[id] ?? "" : "";
    }

    /// <summary>The bytes that an id stands for: of an added or special token its text's UTF-8, and perhaps only part of a character otherwise.</summary>
    /// <exception cref="TokenizerException">The id is negative, or not below <see cref="VocabSize"/>.</exception>
    public ReadOnlyMemory<byte> TokenBytes(int id)
    {
        Check(id);
        return _text[id];
    }

    /// <summary>The id of a token by the vocabulary's spelling or a special token's text; <see langword="null"/> where there is none.</summary>
    public int? TokenId(string token) =>
        _addedByText.TryGetValue(token, out int added) ? added : _definition.Vocabulary.TryGetId(token, out int id) ? id : null;

    internal TokenizerException NoSuchId(int id) =>
        new($"The id {id} is not in the vocabulary of {_definition.File}, whose ids go from 0 to {VocabSize - 1} (VocabSize {VocabSize}).");

    private void Check(int id)
    {
        if ((uint)id >= (uint)VocabSize)
        {
            throw NoSuchId(id);
        }
    }

    private void EncodeText(string text, TextPlace place, BytePairModel.Scratch scratch)
    {
        foreach (TextRewriter rewriter in _definition.Rewriters)
        {
            text = rewriter.Apply(text, place);
        }

        EncodePieces(text, 0, scratch);
    }

    private void EncodePieces(ReadOnlySpan<char> text, int step, BytePairModel.Scratch scratch)
    {
        if (step == _splitters.Length)
        {
            _model.Encode(text, scratch);
            return;
        }

        List<int> ends = [];
        _splitters[step].Split(text, ends);
        int start = 0;
        foreach (int end in ends)
        {
            EncodePieces(text[start..end], step + 1, scratch);
            start = end;
        }
    }

    private static string WellFormed(string text)
    {
        // A copy only where there is something to mend; Encoding puts U+FFFD in the place of a lone half.
        for (int i = text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF'); i >= 0 && i < text.Length; i++)
        {
            if (char.IsSurrogate(text[i]))
            {
                if (!(i + 1 < text.Length && char.IsSurrogatePair(text[i], text[i + 1])))
                {
                    return Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
                }

                i++;
            }
        }

        return text;
    }
}

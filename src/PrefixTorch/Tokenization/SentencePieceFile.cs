using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>
/// SentencePiece's <c>tokenizer.model</c>, as Llama 1 and 2 have it: byte-pair encoding over characters, a space spelled
/// <c>▁</c>, bytes for characters without a token.
/// </summary>
internal sealed class SentencePieceFile
{
    private const string SpaceMark = "▁";
    private const int ModelTypeBpe = 2;

    private readonly string _file;
    private readonly List<(string Text, float Score, Kind Kind)> _pieces = [];
    private bool _hasTrainer;
    private int _modelType = 1;
    private int _vocabSize;
    private bool _byteFallback;
    private int _unknownId;
    private int _bosId = 1;
    private int _eosId = 2;
    private bool _addDummyPrefix = true;

    private SentencePieceFile(string file) => _file = file;

    private enum Kind
    {
        Normal = 1,
        Unknown = 2,
        Control = 3,
        UserDefined = 4,
        Unused = 5,
        Byte = 6,
    }

    public static TokenizerDefinition Read(string file, ReadOnlySpan<byte> content, TokenizerConfigFile config)
    {
        var model = new SentencePieceFile(file);
        model.ReadModel(content);
        return model.Define(config);
    }

    private void ReadModel(ReadOnlySpan<byte> content)
    {
        var reader = new ProtobufReader(_file, content);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    ReadPiece(reader.Bytes);
                    break;
                case 2:
                    ReadTrainer(reader.Bytes);
                    break;
                case 3:
                    ReadNormalizer(reader.Bytes);
                    break;
            }
        }

        if (!_hasTrainer || _pieces.Count != _vocabSize)
        {
            throw new TokenizerException($"{_file} has {_pieces.Count} pieces and {(_hasTrainer ? $"trainer_spec.vocab_size {_vocabSize}" : "no trainer_spec")}; is the file whole?");
        }

        if (_modelType != ModelTypeBpe)
        {
            throw new TokenizerException($"{_file}: trainer_spec.model_type is {_modelType}; only {ModelTypeBpe} (BPE) is known.");
        }
    }

    private void ReadPiece(ReadOnlySpan<byte> message)
    {
        var reader = new ProtobufReader(_file, message);
        (string text, float score, Kind kind) = ("", 0, Kind.Normal);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    text = Encoding.UTF8.GetString(reader.Bytes);
                    break;
                case 2:
                    score = reader.Single;
                    break;
                case 3:
                    kind = (Kind)reader.Value;
                    break;
            }
        }

        if (kind is < Kind.Normal or > Kind.Byte or Kind.Unused)
        {
            throw new TokenizerException($"{_file}: the piece {_pieces.Count}, \"{text}\", is of type {kind}, which is not known.");
        }

        _pieces.Add((text, score, kind));
    }

    private void ReadTrainer(ReadOnlySpan<byte> message)
    {
        _hasTrainer = true;
        var reader = new ProtobufReader(_file, message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 3:
                    _modelType = (int)reader.Value;
                    break;
                case 4:
                    _vocabSize = (int)reader.Value;
                    break;
                case 24:
                    Refuse("trainer_spec.treat_whitespace_as_suffix", reader.Value != 0);
                    break;
                case 35:
                    _byteFallback = reader.Value != 0;
                    break;
                case 40:
                    _unknownId = (int)reader.Value;
                    break;
                case 41:
                    _bosId = (int)reader.Value;
                    break;
                case 42:
                    _eosId = (int)reader.Value;
                    break;
            }
        }
    }

    private void ReadNormalizer(ReadOnlySpan<byte> message)
    {
        var reader = new ProtobufReader(_file, message);
        bool removesSpaces = true;
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 2:
                    Refuse("normalizer_spec.precompiled_charsmap", !reader.Bytes.IsEmpty);
                    break;
                case 3:
                    _addDummyPrefix = reader.Value != 0;
                    break;
                case 4:
                    removesSpaces = reader.Value != 0;
                    break;
                case 5:
                    Refuse("normalizer_spec.escape_whitespaces: false", reader.Value == 0);
                    break;
            }
        }

        Refuse("normalizer_spec.remove_extra_whitespaces", removesSpaces);
    }

    private void Refuse(string field, bool present)
    {
        if (present)
        {
            throw new TokenizerException($"{_file} has {field}, which changes texts in a way that is not known here and that no Llama has.");
        }
    }

    private TokenizerDefinition Define(TokenizerConfigFile config)
    {
        var vocabulary = new Vocabulary(_pieces.Count);
        for (int id = 0; id < _pieces.Count; id++)
        {
            vocabulary.Add(_pieces[id].Text, id, _file);
        }

        bool legacy = config.Legacy;
        var prefix = new PrefixRewriter(SpaceMark, legacy ? PrefixRule.Always : PrefixRule.First, UnlessThere: false);
        return new TokenizerDefinition
        {
            File = _file,
            Vocabulary = vocabulary,
            Merges = Merges(vocabulary),
            Options = new BytePairOptions { ByteLevel = false, ByteFallback = _byteFallback, UnknownId = _unknownId, FuseUnknown = true },
            AddedTokens = AddedTokens(config),
            Rewriters = [new ReplaceRewriter(" ", SpaceMark), .. _addDummyPrefix ? [prefix] : Array.Empty<TextRewriter>()],
            Prefix = _bosId >= 0 ? [_bosId] : [],
            Text = new TokenTextOptions { ByteLevel = false, SpaceMark = SpaceMark, ByteFallback = _byteFallback, LeadingSpacesStripped = _addDummyPrefix ? 1 : 0 },
        };
    }

    private List<AddedToken> AddedTokens(TokenizerConfigFile config)
    {
        Dictionary<int, AddedToken> tokens = [];
        for (int id = 0; id < _pieces.Count; id++)
        {
            if (_pieces[id].Kind is Kind.Unknown or Kind.Control or Kind.UserDefined)
            {
                string text = _pieces[id].Text.Replace(SpaceMark, " ", StringComparison.Ordinal);
                tokens[id] = new AddedToken(id, text, Special: _pieces[id].Kind != Kind.UserDefined);
            }
        }

        foreach (AddedToken token in config.AddedTokens())
        {
            // A model's own token keeps its kind: a damaged configuration must not make text of <s>.
            tokens.TryAdd(token.Id, token);
        }

        return [.. tokens.Values];
    }

    /// <summary>Any two pieces merge that make a third; the better the third's score, the earlier, and of equals the leftmost.</summary>
    private MergeTable Merges(Vocabulary vocabulary)
    {
        float[] scores = [.. _pieces.Where(piece => piece.Kind == Kind.Normal).Select(piece => piece.Score).Distinct().OrderDescending()];
        Dictionary<float, int> ranks = scores.Select((score, rank) => (score, rank)).ToDictionary(entry => entry.score, entry => entry.rank);
        var merges = new MergeTable(_pieces.Count * 2);
        for (int id = 0; id < _pieces.Count; id++)
        {
            if (_pieces[id].Kind != Kind.Normal)
            {
                continue;
            }

            ReadOnlySpan<char> text = _pieces[id].Text;
            for (int split = 1; split < text.Length; split++)
            {
                if (IsNormal(vocabulary, text[..split], out int left) && IsNormal(vocabulary, text[split..], out int right))
                {
                    merges.Add(left, right, ranks[_pieces[id].Score], id);
                }
            }
        }

        return merges;
    }

    private bool IsNormal(Vocabulary vocabulary, ReadOnlySpan<char> text, out int id) =>
        vocabulary.TryGetId(text, out id) && _pieces[id].Kind == Kind.Normal;
}

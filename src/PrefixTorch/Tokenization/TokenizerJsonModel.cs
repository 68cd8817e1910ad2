using System.Text.Json;

namespace PrefixTorch.Tokenization;

/// <summary>The <c>model</c> of a <c>tokenizer.json</c>: vocabulary and merges, read without making an object for each of 400,000 entries.</summary>
internal sealed class TokenizerJsonModel
{
    private readonly string _file;
    private string? _type;
    private string? _unknownToken;
    private bool _fuseUnknown;
    private bool _byteFallback;
    private bool _ignoreMerges;
    private bool _hasVocabulary;
    private char[] _buffer = new char[1024];

    private TokenizerJsonModel(string file, int bytes)
    {
        // Guesses that spare growing: a token and its merges take some hundred bytes of the file.
        _file = file;
        Vocabulary = new Vocabulary(bytes / 128);
        Merges = new MergeTable(bytes / 64);
    }

    public Vocabulary Vocabulary { get; }

    public MergeTable Merges { get; }

    /// <summary>Reads the object that the reader stands on, in a file of so many bytes.</summary>
    public static TokenizerJsonModel Read(string file, int bytes, ref Utf8JsonReader reader)
    {
        var model = new TokenizerJsonModel(file, bytes);
        model.ReadFields(ref reader);
        return model;
    }

    public BytePairOptions Options(bool byteLevel)
    {
        int? unknown = _unknownToken is null ? null
            : Vocabulary.TryGetId(_unknownToken, out int id) ? id
            : throw new TokenizerException($"{_file}: model.unk_token is \"{_unknownToken}\", which model.vocab does not have.");
        return new BytePairOptions { ByteLevel = byteLevel, IgnoreMerges = _ignoreMerges, ByteFallback = _byteFallback, UnknownId = unknown, FuseUnknown = _fuseUnknown };
    }

    private void ReadFields(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw new TokenizerException($"{_file}: model is not an object.");
        }

        Utf8JsonReader merges = default;
        bool hasMerges = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string field = reader.GetString()!;
            reader.Read();
            if (field == "vocab")
            {
                ReadVocabulary(ref reader);
            }
            else if (field == "merges")
            {
                // Merges are read against the vocabulary, so after it wherever they stand.
                hasMerges = true;
                merges = reader;
                if (_hasVocabulary)
                {
                    ReadMerges(ref reader);
                }
                else
                {
                    reader.Skip();
                }
            }
            else
            {
                ReadOption(field, ref reader);
            }
        }

        if (_type is not (null or "BPE"))
        {
            throw new TokenizerException($"{_file}: model.type is \"{_type}\"; only BPE is known.");
        }

        if (!_hasVocabulary || !hasMerges)
        {
            throw new TokenizerException($"{_file}: model has no {(_hasVocabulary ? "merges" : "vocab")}.");
        }

        if (Merges.Count == 0)
        {
            ReadMerges(ref merges);
        }
    }

    private void ReadOption(string field, ref Utf8JsonReader reader)
    {
        JsonElement value = JsonElement.ParseValue(ref reader);
        switch (field)
        {
            case "type":
                _type = value.GetString();
                break;
            case "unk_token":
                _unknownToken = value.GetString();
                break;
            case "fuse_unk":
                _fuseUnknown = value.ValueKind == JsonValueKind.True;
                break;
            case "byte_fallback":
                _byteFallback = value.ValueKind == JsonValueKind.True;
                break;
            case "ignore_merges":
                _ignoreMerges = value.ValueKind == JsonValueKind.True;
                break;
            case "dropout":
                Refuse(field, value, value.ValueKind == JsonValueKind.Null || (value.ValueKind == JsonValueKind.Number && value.GetDouble() == 0), "would make ids random");
                break;
            case "continuing_subword_prefix" or "end_of_word_suffix":
                Refuse(field, value, value.ValueKind == JsonValueKind.Null || value.ValueEqualsText(""), "is not what Llama's vocabularies have");
                break;
            default:
                // Another kind of model has other fields; its type says more than they do.
                Refuse(field, value, _type is not (null or "BPE"), "is unknown to this library");
                break;
        }
    }

    private void Refuse(string field, JsonElement value, bool harmless, string why)
    {
        if (!harmless)
        {
            throw new TokenizerException($"{_file}: model.{field} is {value.GetRawText()}, which {why}.");
        }
    }

    private void ReadVocabulary(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            // Unigram has a list here.
            throw new TokenizerException($"{_file}: model.vocab is not an object of tokens and ids, so {(_type is null or "BPE" ? "this is no BPE model" : $"model.type \"{_type}\" is not BPE")}; only BPE is known.");
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string spelling = reader.GetString()!;
            reader.Read();
            Vocabulary.Add(spelling, reader.GetInt32(), _file);
        }

        _hasVocabulary = true;
    }

    private void ReadMerges(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw new TokenizerException($"{_file}: model.merges is not a list.");
        }

        for (int rank = 0; reader.Read() && reader.TokenType != JsonTokenType.EndArray; rank++)
        {
            int left;
            int length;
            if (reader.TokenType == JsonTokenType.StartArray)
            {
                left = ReadHalf(ref reader, 0);
                length = left + ReadHalf(ref reader, left);
                if (!reader.Read() || reader.TokenType != JsonTokenType.EndArray)
                {
                    throw new TokenizerException($"{_file}: model.merges[{rank}] is not a pair.");
                }
            }
            else
            {
                // Before version 0.20 of the format: both in one string, with a space between them.
                length = CopyString(ref reader, 0);
                left = _buffer.AsSpan(0, length).IndexOf(' ');
                if (left < 0)
                {
                    throw new TokenizerException($"{_file}: model.merges[{rank}] is \"{_buffer.AsSpan(0, length)}\", not two tokens with a space between them.");
                }

                _buffer.AsSpan(left + 1, --length - left).CopyTo(_buffer.AsSpan(left));
            }

            AddMerge(rank, left, length);
        }
    }

    private int ReadHalf(ref Utf8JsonReader reader, int at)
    {
        reader.Read();
        return CopyString(ref reader, at);
    }

    private int CopyString(ref Utf8JsonReader reader, int at)
    {
        int needed = at + reader.ValueSpan.Length;
        if (needed > _buffer.Length)
        {
            Array.Resize(ref _buffer, needed * 2);
        }

        return reader.CopyString(_buffer.AsSpan(at));
    }

    private void AddMerge(int rank, int left, int length)
    {
        ReadOnlySpan<char> both = _buffer.AsSpan(0, length);
        Merges.Add(Id(both[..left], rank), Id(both[left..], rank), rank, Id(both, rank));
    }

    private int Id(ReadOnlySpan<char> spelling, int rank) =>
        Vocabulary.TryGetId(spelling, out int id) ? id : throw new TokenizerException($"{_file}: model.merges[{rank}] needs the token \"{spelling}\", which model.vocab does not have.");
}

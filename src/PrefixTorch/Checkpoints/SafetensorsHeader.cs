using System.Text.Json;
using System.Text.Unicode;
using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>
/// Reads the JSON header of a safetensors file as if it were hostile. Nothing in it is believed before it is checked: names
/// occur once, dtypes are known, shapes multiply without overflow, and the tensors tile the data exactly.
/// </summary>
/// <remarks>
/// The format: 8 bytes little-endian N; N bytes of UTF-8 JSON that start with <c>{</c>, padded with spaces; the data. The JSON maps
/// names to <c>{"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}</c>, offsets counted from the start of the data;
/// the name <c>__metadata__</c> maps strings to strings.
/// </remarks>
internal ref struct SafetensorsHeader
{
    /// <summary>The name that holds no tensor but strings.</summary>
    public const string MetadataName = "__metadata__";

    /// <summary>The longest header that is read, as in the reference implementation.</summary>
    public const long MaxByteCount = 100_000_000;

    /// <summary>Bytes before the header: its length.</summary>
    public const int PrefixByteCount = 8;

    private readonly string _path;
    private readonly long _dataOffset;
    private Utf8JsonReader _reader;

    private SafetensorsHeader(string path, ReadOnlySpan<byte> json)
    {
        _path = path;
        _dataOffset = PrefixByteCount + json.Length;
        _reader = new Utf8JsonReader(json);
    }

    /// <summary>The strings under <c>__metadata__</c>; empty where there are none.</summary>
    public OrderedDictionary<string, string> Metadata { get; } = new(StringComparer.Ordinal);

    /// <summary>The tensors in the header's order.</summary>
    public OrderedDictionary<string, TensorEntry> Tensors { get; } = new(StringComparer.Ordinal);

    /// <summary>Reads and checks a header.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="json">The header without its length.</param>
    /// <param name="fileByteCount">The length of the whole file.</param>
    /// <exception cref="CheckpointException">The header breaks a rule of the format.</exception>
    public static SafetensorsHeader Read(string path, ReadOnlySpan<byte> json, long fileByteCount)
    {
        if (!Utf8.IsValid(json))
        {
            throw new CheckpointException(CheckpointError.HeaderNotUtf8, path, $"the header is not UTF-8. {Damaged}");
        }

        if (json[0] != (byte)'{')
        {
            throw new CheckpointException(CheckpointError.InvalidHeaderStart, path, $"the header starts with byte 0x{json[0]:X2} instead of '{{'. {Damaged}");
        }

        var header = new SafetensorsHeader(path, json);
        try
        {
            header.ReadRoot();
        }
        catch (JsonException error)
        {
            throw new CheckpointException(CheckpointError.InvalidJson, path, $"the header is not JSON ({error.Message}). {Damaged}", error);
        }
        catch (InvalidOperationException error)
        {
            // A string with half a surrogate pair is JSON, but no text.
            throw new CheckpointException(CheckpointError.InvalidJson, path, $"the header holds a string that is not text ({error.Message}). {Damaged}", error);
        }

        header.CheckThatTensorsTileTheData(fileByteCount);
        return header;
    }

    /// <summary>The remedy for whatever cannot have been written so.</summary>
    public const string Damaged = "The file is damaged or not a safetensors file: download or save it again.";

    private void ReadRoot()
    {
        bool hasMetadata = false;
        _reader.Read();
        while (NextName() is string name)
        {
            if (name == MetadataName)
            {
                if (hasMetadata)
                {
                    throw Duplicate(name);
                }

                hasMetadata = true;
                ReadMetadata();
            }
            else if (Tensors.ContainsKey(name))
            {
                throw Duplicate(name);
            }
            else
            {
                Tensors.Add(name, ReadTensor(name));
            }
        }

        // Only spaces may follow; anything else makes the reader throw.
        _reader.Read();
    }

    private void ReadMetadata()
    {
        _reader.Read();
        if (_reader.TokenType != JsonTokenType.StartObject)
        {
            throw new CheckpointException(CheckpointError.InvalidMetadata, _path, $"{MetadataName} is {Describe()} instead of an object of strings. {Damaged}");
        }

        while (NextName() is string key)
        {
            _reader.Read();
            if (_reader.TokenType != JsonTokenType.String)
            {
                throw new CheckpointException(CheckpointError.InvalidMetadata, _path, $"{MetadataName} maps '{key}' to {Describe()} instead of a string. Save the file again with strings only.");
            }

            if (!Metadata.TryAdd(key, _reader.GetString()!))
            {
                throw Duplicate($"{MetadataName}.{key}");
            }
        }
    }

    private TensorEntry ReadTensor(string name)
    {
        _reader.Read();
        if (_reader.TokenType != JsonTokenType.StartObject)
        {
            throw Malformed(name, $"is {Describe()} instead of an object with dtype, shape and data_offsets");
        }

        DType? type = null;
        long[]? shape = null;
        long[]? offsets = null;
        while (NextName() is string key)
        {
            _reader.Read();
            switch (key)
            {
                case "dtype" when type is null:
                    type = ReadDType(name);
                    break;
                case "shape" when shape is null:
                    shape = ReadIntegers(name, key);
                    break;
                case "data_offsets" when offsets is null:
                    offsets = ReadIntegers(name, key);
                    break;
                case "dtype" or "shape" or "data_offsets":
                    throw Duplicate($"{name}.{key}");
                default:
                    _reader.Skip();
                    break;
            }
        }

        if (type is null || shape is null || offsets is null)
        {
            throw Malformed(name, $"has no {(type is null ? "dtype" : shape is null ? "shape" : "data_offsets")}");
        }

        return Check(name, type.Value, shape, offsets);
    }

    private readonly TensorEntry Check(string name, DType type, long[] shape, long[] offsets)
    {
        if (offsets.Length != 2)
        {
            throw Malformed(name, $"has {offsets.Length} data_offsets instead of 2");
        }

        (long begin, long end) = (offsets[0], offsets[1]);
        if (begin < 0 || end < begin)
        {
            throw new CheckpointException(CheckpointError.InvalidOffsets, _path, $"tensor '{name}' has data_offsets [{begin}, {end}], which are negative or reversed. {Damaged}");
        }

        if (TensorShape.ByteCount(shape, type.Size()) is not long bytes)
        {
            throw new CheckpointException(CheckpointError.InvalidShape, _path, $"tensor '{name}' has shape {TensorShape.Format(shape)} of {type.FileName()}: a dimension is negative or the product does not fit in 64 bits. {Damaged}");
        }

        if (bytes != end - begin)
        {
            throw new CheckpointException(
                CheckpointError.SizeMismatch,
                _path,
                $"tensor '{name}' has shape {TensorShape.Format(shape)} of {type.FileName()}, which takes {bytes} bytes, but data_offsets [{begin}, {end}] give it {end - begin}. {Damaged}");
        }

        if (end > long.MaxValue - _dataOffset)
        {
            throw new CheckpointException(CheckpointError.TruncatedFile, _path, $"tensor '{name}' ends at byte {end} of the data, which no file reaches. {Damaged}");
        }

        return new TensorEntry(name, type, shape, _dataOffset + begin, bytes);
    }

    private DType ReadDType(string name)
    {
        if (_reader.TokenType != JsonTokenType.String)
        {
            throw Malformed(name, $"has the dtype {Describe()} instead of a string");
        }

        string text = _reader.GetString()!;
        return DTypes.TryParseFileName(text, out DType type)
            ? type
            : throw new CheckpointException(
                CheckpointError.UnknownDType,
                _path,
                $"tensor '{name}' has the dtype '{text}', which is not one of {string.Join(", ", Enum.GetValues<DType>().Select(known => known.FileName()))}. Save the checkpoint in one of these.");
    }

    private long[] ReadIntegers(string name, string key)
    {
        if (_reader.TokenType != JsonTokenType.StartArray)
        {
            throw Malformed(name, $"has the {key} {Describe()} instead of an array of integers");
        }

        var values = new List<long>(4);
        while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
        {
            if (_reader.TokenType != JsonTokenType.Number || !_reader.TryGetInt64(out long value))
            {
                throw Malformed(name, $"has {Describe()} among its {key}, where only 64-bit integers may stand");
            }

            values.Add(value);
        }

        return [.. values];
    }

    // Sorted by where they begin, each tensor must begin where the one before it ends: then nothing overlaps, nothing
    // is left over, and a file that was cut short cannot pass.
    private readonly void CheckThatTensorsTileTheData(long fileByteCount)
    {
        TensorEntry[] sorted = [.. Tensors.Values];
        Array.Sort(sorted, (a, b) => (a.Offset, a.ByteCount).CompareTo((b.Offset, b.ByteCount)));
        long reached = _dataOffset;
        TensorEntry? previous = null;
        foreach (TensorEntry entry in sorted)
        {
            if (entry.Offset + entry.ByteCount > fileByteCount)
            {
                throw new CheckpointException(
                    CheckpointError.TruncatedFile,
                    _path,
                    $"tensor '{entry.Name}' ends at byte {entry.Offset + entry.ByteCount}, but the file has {fileByteCount}. It was cut short: download or save it again.");
            }

            if (entry.Offset < reached)
            {
                throw new CheckpointException(
                    CheckpointError.OverlappingTensors,
                    _path,
                    $"tensor '{entry.Name}' begins at byte {entry.Offset}, before '{previous!.Name}' ends at {reached}. {Damaged}");
            }

            if (entry.Offset > reached)
            {
                throw new CheckpointException(
                    CheckpointError.HoleBetweenTensors,
                    _path,
                    $"bytes {reached} to {entry.Offset} before tensor '{entry.Name}' belong to no tensor. {Damaged}");
            }

            reached = entry.Offset + entry.ByteCount;
            previous = entry;
        }

        if (reached != fileByteCount)
        {
            throw new CheckpointException(
                CheckpointError.TrailingBytes,
                _path,
                $"the last tensor ends at byte {reached}, but the file has {fileByteCount}; the rest belongs to no tensor. {Damaged}");
        }
    }

    private string? NextName()
    {
        _reader.Read();
        return _reader.TokenType == JsonTokenType.PropertyName ? _reader.GetString() : null;
    }

    // What stands where something else should, short enough for a message.
    private readonly string Describe() => _reader.TokenType switch
    {
        JsonTokenType.StartObject => "an object",
        JsonTokenType.StartArray => "an array",
        JsonTokenType.String => "a string",
        JsonTokenType.Number => $"the number {System.Text.Encoding.UTF8.GetString(_reader.ValueSpan[..Math.Min(_reader.ValueSpan.Length, 40)])}",
        JsonTokenType.True => "true",
        JsonTokenType.False => "false",
        _ => "null",
    };

    private readonly CheckpointException Malformed(string name, string what) =>
        new(CheckpointError.InvalidHeader, _path, $"tensor '{name}' {what}. {Damaged}");

    private readonly CheckpointException Duplicate(string name) =>
        new(CheckpointError.DuplicateName, _path, $"the name '{name}' occurs twice in the header. {Damaged}");
}

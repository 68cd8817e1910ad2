using System.Text.Json;

namespace PrefixTorch.Tokenization;

/// <summary>
/// Reads Hugging Face's <c>tokenizer.json</c>. The vocabulary and the merges, nearly all of its bytes, are read in one pass
/// without a tree; what is small is read as one. What is not understood is refused by name.
/// </summary>
internal sealed class TokenizerJson(string file)
{
    private readonly List<AddedToken> _added = [];
    private TokenizerJsonModel? _model;
    private JsonElement _normalizer;
    private JsonElement _preTokenizer;
    private JsonElement _postProcessor;
    private JsonElement _decoder;

    public TokenizerDefinition Read(ReadOnlySpan<byte> json)
    {
        try
        {
            ReadOnlySpan<byte> byteOrderMark = [0xEF, 0xBB, 0xBF];
            var reader = new Utf8JsonReader(json.StartsWith(byteOrderMark) ? json[byteOrderMark.Length..] : json);
            ReadFields(ref reader, json.Length);
            return Combine(_model ?? throw new TokenizerException($"{file} has no model; is it a tokenizer.json?"));
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            throw new TokenizerException($"{file} is broken JSON, or has a value of the wrong kind: {error.Message}", error);
        }
    }

    private void ReadFields(ref Utf8JsonReader reader, int bytes)
    {
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw new TokenizerException($"{file} is not a JSON object; is it a tokenizer.json?");
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string field = reader.GetString()!;
            reader.Read();
            switch (field)
            {
                case "version":
                    reader.Skip();
                    break;
                case "model":
                    _model = TokenizerJsonModel.Read(file, bytes, ref reader);
                    break;
                case "added_tokens":
                    ReadAddedTokens(JsonElement.ParseValue(ref reader));
                    break;
                case "normalizer":
                    _normalizer = JsonElement.ParseValue(ref reader);
                    break;
                case "pre_tokenizer":
                    _preTokenizer = JsonElement.ParseValue(ref reader);
                    break;
                case "post_processor":
                    _postProcessor = JsonElement.ParseValue(ref reader);
                    break;
                case "decoder":
                    _decoder = JsonElement.ParseValue(ref reader);
                    break;
                case "truncation":
                    RefuseTruncation(JsonElement.ParseValue(ref reader));
                    break;
                case "padding":
                    RefusePadding(JsonElement.ParseValue(ref reader));
                    break;
                default:
                    throw new TokenizerException($"{file}: the field \"{field}\" is unknown; this library cannot tell what it does to ids.");
            }
        }
    }

    private TokenizerDefinition Combine(TokenizerJsonModel model)
    {
        var steps = new TokenizerJsonSteps(file);
        steps.ReadNormalizer(_normalizer);
        steps.ReadPreTokenizer(_preTokenizer);
        steps.ReadPostProcessor(_postProcessor);
        return new TokenizerDefinition
        {
            File = file,
            Vocabulary = model.Vocabulary,
            Merges = model.Merges,
            Options = model.Options(steps.ByteLevel),
            AddedTokens = _added,
            Normalizers = steps.Normalizers,
            Rewriters = steps.Rewriters,
            Splitters = steps.Splitters,
            Prefix = steps.Prefix,
            Suffix = steps.Suffix,
            Text = TokenizerJsonDecoder.Read(file, _decoder),
        };
    }

    private void ReadAddedTokens(JsonElement tokens)
    {
        if (tokens.ValueKind == JsonValueKind.Null)
        {
            return;
        }

        foreach (JsonElement token in tokens.EnumerateArray())
        {
            int id = token.TryGetProperty("id", out JsonElement value) && value.TryGetInt32(out int number) && number >= 0
                ? number
                : throw new TokenizerException($"{file}: added_tokens has an entry without an id: {token.GetRawText()}.");
            _added.Add(AddedTokenJson.Read(file, "added_tokens", token, id));
        }
    }

    private void RefuseTruncation(JsonElement truncation)
    {
        if (truncation.ValueKind != JsonValueKind.Null)
        {
            throw new TokenizerException($"{file}: truncation is set ({truncation.GetRawText()}) and would drop ids of long texts; set it to null.");
        }
    }

    private void RefusePadding(JsonElement padding)
    {
        // Padding to the longest of a batch does nothing to a single text.
        bool harmless = padding.ValueKind == JsonValueKind.Null
            || (padding.TryGetProperty("strategy", out JsonElement strategy) && strategy.ValueEqualsText("BatchLongest")
                && !(padding.TryGetProperty("pad_to_multiple_of", out JsonElement multiple) && multiple.ValueKind != JsonValueKind.Null));
        if (!harmless)
        {
            throw new TokenizerException($"{file}: padding is set ({padding.GetRawText()}) and would add ids to every text; set it to null.");
        }
    }
}

/// <summary>Comparison that no kind of element breaks.</summary>
internal static class JsonElementText
{
    /// <summary>Whether the element is this string.</summary>
    public static bool ValueEqualsText(this JsonElement element, string text) =>
        element.ValueKind == JsonValueKind.String && element.ValueEquals(text);
}

using System.Text.Json;

namespace PrefixTorch.Tokenization;

/// <summary>The part of <c>tokenizer_config.json</c> that decides ids: which tokens go round a text, and tokens added to a SentencePiece model.</summary>
internal sealed class TokenizerConfigFile
{
    private const string FileName = "tokenizer_config.json";

    private readonly string _file;
    private readonly JsonElement _root;

    private TokenizerConfigFile(string file, JsonElement root)
    {
        _file = file;
        _root = root;
    }

    /// <summary>Whether a SentencePiece text gets its leading space after every special token, as before Hugging Face mended that.</summary>
    public bool Legacy => Flag("legacy") ?? true;

    /// <summary>Reads the file beside a tokenizer file; where there is none, nothing is refined.</summary>
    public static TokenizerConfigFile Beside(string tokenizerFile)
    {
        string file = Path.Combine(Path.GetDirectoryName(tokenizerFile) ?? "", FileName);
        if (!File.Exists(file))
        {
            return new TokenizerConfigFile(file, default);
        }

        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(file));
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new TokenizerConfigFile(file, document.RootElement.Clone())
                : throw new TokenizerException($"{file} is a JSON {document.RootElement.ValueKind}, not an object.");
        }
        catch (JsonException error)
        {
            throw new TokenizerException($"{file} is broken JSON: {error.Message}", error);
        }
    }

    /// <summary>The tokens of <c>added_tokens_decoder</c>, which a SentencePiece model itself does not have.</summary>
    public IEnumerable<AddedToken> AddedTokens()
    {
        if (Property("added_tokens_decoder") is not { ValueKind: JsonValueKind.Object } tokens)
        {
            yield break;
        }

        foreach (JsonProperty entry in tokens.EnumerateObject())
        {
            yield return int.TryParse(entry.Name, out int id) && entry.Value.ValueKind == JsonValueKind.Object
                ? AddedTokenJson.Read(_file, "added_tokens_decoder", entry.Value, id)
                : throw new TokenizerException($"{_file}: added_tokens_decoder has the entry \"{entry.Name}\", which is no id with a token.");
        }
    }

    /// <summary>Puts the tokens round a text that the file asks for by <c>add_bos_token</c> and <c>add_eos_token</c>; what it does not mention stays.</summary>
    public TokenizerDefinition Refine(TokenizerDefinition definition) => definition with
    {
        Prefix = Wanted(definition, "add_bos_token", "bos_token", definition.Prefix),
        Suffix = Wanted(definition, "add_eos_token", "eos_token", definition.Suffix),
    };

    private int[] Wanted(TokenizerDefinition definition, string flag, string tokenField, IReadOnlyList<int> template)
    {
        bool? wanted = Flag(flag);
        if (wanted is null || (wanted.Value && template.Count > 0))
        {
            return [.. template];
        }

        if (!wanted.Value)
        {
            return [];
        }

        string text = TokenText(tokenField) ?? throw new TokenizerException($"{_file}: {flag} is true, but there is no {tokenField}.");
        int? id = definition.AddedTokens.FirstOrDefault(token => token.Content == text)?.Id
            ?? (definition.Vocabulary.TryGetId(text, out int known) ? known : null);
        return [id ?? throw new TokenizerException($"{_file}: {tokenField} is \"{text}\", which {definition.File} does not have.")];
    }

    private string? TokenText(string name) => Property(name) switch
    {
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        { ValueKind: JsonValueKind.Object } token when token.TryGetProperty("content", out JsonElement content) && content.ValueKind == JsonValueKind.String => content.GetString(),
        _ => null,
    };

    private bool? Flag(string name) => Property(name) switch
    {
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        _ => null,
    };

    private JsonElement? Property(string name) =>
        _root.ValueKind == JsonValueKind.Object && _root.TryGetProperty(name, out JsonElement value) ? value : null;
}

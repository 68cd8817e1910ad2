using System.Text.Json;

namespace PrefixTorch.Tokenization;

/// <summary>One step of a <c>tokenizer.json</c> with its fields; what is missing or of another kind is refused by name.</summary>
internal readonly struct JsonStep
{
    private readonly string _file;
    private readonly string _part;
    private readonly JsonElement _step;

    public JsonStep(string file, string part, JsonElement step)
    {
        _file = file;
        _part = part;
        _step = step;
        Type = step.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined ? null
            : step.ValueKind == JsonValueKind.Object && step.TryGetProperty("type", out JsonElement type) && type.ValueKind == JsonValueKind.String ? type.GetString()
            : throw new TokenizerException($"{file}: {part} has a step without a type.");
    }

    /// <summary>The kind of step; <see langword="null"/> where the file has none.</summary>
    public string? Type { get; }

    public TokenizerException Unknown(string known) => new($"{_file}: {_part} has a step of type {Type}, which is not known; {known} are.");

    public void ForEach(string field, Action<JsonElement> read)
    {
        foreach (JsonElement item in Items(field))
        {
            read(item);
        }
    }

    public IEnumerable<JsonElement> Items(string field) =>
        Element(field) is { ValueKind: JsonValueKind.Array } list ? [.. list.EnumerateArray()] : throw Missing(field, "a list");

    public JsonElement Element(string field) => _step.TryGetProperty(field, out JsonElement value) ? value : throw Missing(field, "there");

    public string Text(string field) =>
        Element(field) is { ValueKind: JsonValueKind.String } text ? text.GetString()! : throw Missing(field, "a string");

    public bool Flag(string field, bool otherwise) =>
        !_step.TryGetProperty(field, out JsonElement value) ? otherwise
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
        : throw Missing(field, "true or false");

    public int Number(string field) =>
        Element(field).TryGetInt32(out int number) ? number : throw Missing(field, "a number");

    /// <summary>The pattern, of the one kind that is known here: <c>{"String": …}</c> or <c>{"Regex": …}</c>.</summary>
    public string Pattern(string kind) =>
        Element("pattern") is { ValueKind: JsonValueKind.Object } pattern && pattern.TryGetProperty(kind, out JsonElement text) && text.ValueKind == JsonValueKind.String
            ? text.GetString()!
            : throw Missing("pattern", $"a {kind}");

    /// <summary>Metaspace's rule, in today's spelling and the one before it.</summary>
    public PrefixRule PrefixRule()
    {
        string scheme = _step.TryGetProperty("prepend_scheme", out JsonElement value) ? value.GetString() ?? "always" : Flag("add_prefix_space", true) ? "always" : "never";
        return scheme switch
        {
            "always" => Tokenization.PrefixRule.Always,
            "first" => Tokenization.PrefixRule.First,
            "never" => Tokenization.PrefixRule.Never,
            _ => throw Missing("prepend_scheme", "always, first or never"),
        };
    }

    private TokenizerException Missing(string field, string wanted) => new($"{_file}: {_part} {Type}.{field} is not {wanted}.");
}

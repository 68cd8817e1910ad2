using System.Text.Json;

namespace PrefixTorch.Tokenization.Chat;

/// <summary>
/// The chat templates that a model's folder carries, by name, read as transformers does: chat_template.jinja (and
/// additional_chat_templates/*.jinja), or else tokenizer_config.json's chat_template, one text or a list of named ones.
/// Immutable and safe from any thread.
/// </summary>
public sealed class ChatTemplateFiles
{
    private const string Default = "default";

    private static readonly string[] s_specialTokenNames = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "additional_special_tokens"];

    private readonly Dictionary<string, string> _sources = new(StringComparer.Ordinal);
    private readonly Dictionary<string, JsonElement> _specialTokens = new(StringComparer.Ordinal);
    private readonly string _folder;

    private ChatTemplateFiles(string folder) => _folder = folder;

    /// <summary>The templates' names: usually "default" alone, sometimes "tool_use" or "rag" beside it.</summary>
    public IReadOnlyCollection<string> Names => _sources.Keys;

    /// <summary>Reads what the folder has. Finding no template is no error: <see cref="Names"/> is empty then.</summary>
    /// <exception cref="ChatTemplateException">A file is not what its name says.</exception>
    public static ChatTemplateFiles Read(string folder)
    {
        var files = new ChatTemplateFiles(folder);
        files.ReadConfig("tokenizer_config.json");
        files.ReadConfig("special_tokens_map.json");
        files.ReadJinja();
        return files;
    }

    /// <summary>
    /// The template of a name. Without a name it is "tool_use" where there are tools and the model has that, and
    /// "default" otherwise, as transformers chooses.
    /// </summary>
    /// <exception cref="ChatTemplateException">There is no such template, or it uses what is not known here.</exception>
    public ChatTemplate Load(string? name = null, bool hasTools = false)
    {
        name ??= hasTools && _sources.ContainsKey("tool_use") ? "tool_use" : Default;
        if (!_sources.TryGetValue(name, out string? source))
        {
            throw new ChatTemplateException(_sources.Count == 0
                ? $"{_folder} has no chat template: neither chat_template.jinja nor 'chat_template' in tokenizer_config.json. A base model continues text and has none; use an instruct model, or put a chat_template.jinja into the folder."
                : $"{_folder} has no chat template '{name}'; it has: {string.Join(", ", Names)}.");
        }

        return new ChatTemplate(source, _specialTokens);
    }

    private void ReadConfig(string fileName)
    {
        string path = Path.Combine(_folder, fileName);
        if (!File.Exists(path))
        {
            return;
        }

        JsonElement config;
        try
        {
            config = JsonElement.Parse(File.ReadAllBytes(path));
        }
        catch (JsonException error)
        {
            throw new ChatTemplateException($"{path} is not JSON: {error.Message} Fetch the file again.", 0, error);
        }

        if (config.ValueKind != JsonValueKind.Object)
        {
            throw new ChatTemplateException($"{path} holds a JSON {config.ValueKind}, not an object. Fetch the file again.");
        }

        ReadTemplates(config, path);
        ReadSpecialTokens(config);
    }

    private void ReadTemplates(JsonElement config, string path)
    {
        if (!config.TryGetProperty("chat_template", out JsonElement template) || template.ValueKind == JsonValueKind.Null)
        {
            return;
        }

        if (template.ValueKind == JsonValueKind.String)
        {
            _sources[Default] = template.GetString()!;
            return;
        }

        foreach (JsonElement named in template.ValueKind == JsonValueKind.Array ? template.EnumerateArray() : default)
        {
            if (named.ValueKind == JsonValueKind.Object && named.TryGetProperty("name", out JsonElement name) && named.TryGetProperty("template", out JsonElement source))
            {
                _sources[name.GetString()!] = source.GetString()!;
            }
        }

        if (_sources.Count == 0)
        {
            throw new ChatTemplateException($"{path}: 'chat_template' is a {template.ValueKind}; it should be a text, or a list of objects with 'name' and 'template'.");
        }
    }

    private void ReadSpecialTokens(JsonElement config)
    {
        foreach (string name in s_specialTokenNames)
        {
            if (config.TryGetProperty(name, out JsonElement token) && TokenText(token) is JsonElement text)
            {
                _specialTokens.TryAdd(name, text);
            }
        }

        // The class that Llama 1 and 2 name has these without their being written down.
        if (config.TryGetProperty("tokenizer_class", out JsonElement tokenizer) && tokenizer.GetString() is "LlamaTokenizer" or "LlamaTokenizerFast")
        {
            _specialTokens.TryAdd("bos_token", JsonElement.Parse("\"<s>\""));
            _specialTokens.TryAdd("eos_token", JsonElement.Parse("\"</s>\""));
            _specialTokens.TryAdd("unk_token", JsonElement.Parse("\"<unk>\""));
        }
    }

    // A token is its text, or an object that holds it as "content".
    private static JsonElement? TokenText(JsonElement token) => token.ValueKind switch
    {
        JsonValueKind.String => token,
        JsonValueKind.Object when token.TryGetProperty("content", out JsonElement content) => content,
        JsonValueKind.Array => JsonSerializer.SerializeToElement(token.EnumerateArray().Select(TokenText).OfType<JsonElement>()),
        _ => null,
    };

    private void ReadJinja()
    {
        string file = Path.Combine(_folder, "chat_template.jinja");
        if (File.Exists(file))
        {
            _sources.Clear();
            _sources[Default] = File.ReadAllText(file);
        }

        string more = Path.Combine(_folder, "additional_chat_templates");
        foreach (string path in Directory.Exists(more) ? Directory.GetFiles(more, "*.jinja") : [])
        {
            _sources[Path.GetFileNameWithoutExtension(path)] = File.ReadAllText(path);
        }
    }
}

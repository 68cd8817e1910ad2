using System.Text.Json.Nodes;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

/// <summary>Tokenizer files made up on the spot.</summary>
internal static class TokenizerText
{
    /// <summary>Loads a tokenizer.json with this content from a folder of its own, with other files beside it if given.</summary>
    public static LlamaTokenizer Load(string json, string? config = null) =>
        InFolder(folder => LlamaTokenizer.Load(folder), ("tokenizer.json", System.Text.Encoding.UTF8.GetBytes(json)), ("tokenizer_config.json", config is null ? null : System.Text.Encoding.UTF8.GetBytes(config)));

    /// <summary>The trained model's tokenizer.json, changed.</summary>
    public static LlamaTokenizer LoadTiny(Action<JsonObject> change)
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(Repository.TinyTolstoy, "tokenizer.json")))!.AsObject();
        change(json);
        return Load(json.ToJsonString());
    }

    public static T InFolder<T>(Func<string, T> use, params (string Name, byte[]? Content)[] files)
    {
        string folder = Directory.CreateTempSubdirectory("prefixtorch-tokenizer-").FullName;
        try
        {
            foreach (var (name, content) in files)
            {
                if (content is not null)
                {
                    File.WriteAllBytes(Path.Combine(folder, name), content);
                }
            }

            return use(folder);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}

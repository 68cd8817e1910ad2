using System.Text.RegularExpressions;

namespace PrefixTorch.Checkpoints.Hub;

/// <summary>Which of a repository's files this library reads: configuration, tokenizer, chat template, weights in safetensors.</summary>
internal static partial class NeededFiles
{
    private const string Index = "model.safetensors.index.json";

    private static readonly HashSet<string> s_names =
    [
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", Index,
    ];

    /// <exception cref="HubException">There is no checkpoint among them that could be read.</exception>
    public static IReadOnlyList<string> Choose(string repository, IReadOnlyList<string> paths)
    {
        // Beside the weights that transformers reads, some repositories keep the same ones in another layout.
        List<string> weights = [.. paths.Where(path => Weights().IsMatch(path))];
        if (weights.Count == 0)
        {
            weights = [.. paths.Where(path => !path.Contains('/') && path.EndsWith(".safetensors", StringComparison.Ordinal))];
        }

        if (!paths.Contains("config.json"))
        {
            throw new HubException($"{repository} has no config.json among its {paths.Count} files, so it is no model in Hugging Face's layout.");
        }

        if (weights.Count == 0)
        {
            string? pickle = paths.FirstOrDefault(path => path.EndsWith(".bin", StringComparison.Ordinal) || path.EndsWith(".pth", StringComparison.Ordinal) || path.EndsWith(".pt", StringComparison.Ordinal));
            throw new HubException(pickle is null
                ? $"{repository} has no .safetensors file. Pull a repository with weights in safetensors."
                : $"{repository} has its weights as pickles only ({pickle}), which can run code when read and are not read here. Pull a repository that has them as .safetensors, or convert them with transformers' save_pretrained.");
        }

        return [.. paths.Where(path => s_names.Contains(path) || ChatTemplates().IsMatch(path)), .. weights];
    }

    [GeneratedRegex(@"\Amodel(-\d+-of-\d+)?\.safetensors\z")]
    private static partial Regex Weights();

    [GeneratedRegex(@"\Aadditional_chat_templates/[^/]+\.jinja\z")]
    private static partial Regex ChatTemplates();
}

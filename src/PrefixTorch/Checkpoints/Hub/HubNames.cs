using System.Text.RegularExpressions;

namespace PrefixTorch.Checkpoints.Hub;

/// <summary>Checks the names that become paths on this machine: they come from the command line and from a server.</summary>
internal static partial class HubNames
{
    public static bool IsRepository(string text) =>
        Repository().IsMatch(text) && !text.Contains("..", StringComparison.Ordinal) && !text.Contains("--", StringComparison.Ordinal);

    public static void CheckRepository(string repository)
    {
        if (!IsRepository(repository))
        {
            throw new HubException($"'{repository}' is no repository's name. It should be like meta-llama/Llama-3.1-8B: an owner, '/', and a name of letters, digits, '.', '_' and '-'.");
        }
    }

    public static void CheckPath(string what, string path)
    {
        string[] parts = path.Split('/');
        if (path.Length == 0 || path.Contains('\\') || path.Contains(':') || path.Any(char.IsControl) || parts.Any(part => part is "" or "." or ".."))
        {
            throw new HubException($"The {what} '{path}' is no path inside a repository.");
        }
    }

    public static bool IsHash(string? text) => text is not null && Hash().IsMatch(text);

    public static bool IsCommit(string? text) => text is not null && Commit().IsMatch(text);

    [GeneratedRegex(@"\A[\w.-]+(/[\w.-]+)?\z", RegexOptions.ECMAScript)]
    private static partial Regex Repository();

    [GeneratedRegex(@"\A([0-9a-f]{40}|[0-9a-f]{64})\z")]
    private static partial Regex Hash();

    [GeneratedRegex(@"\A[0-9a-f]{40}\z")]
    private static partial Regex Commit();
}

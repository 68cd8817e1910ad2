namespace PrefixTorch.Cli.Inputs;

/// <summary>Something to read: a text or ids, never both.</summary>
internal sealed record Prompt(string? Text, int[]? Ids);

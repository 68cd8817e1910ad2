namespace PrefixTorch.Cli;

/// <summary>The command line is wrong in a way that shows only when it is read as a whole.</summary>
internal sealed class UsageException(string message) : Exception(message);

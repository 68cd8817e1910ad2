namespace PrefixTorch.Caching;

/// <summary>A state file is not what this model can continue from, or not a state file. The message names the file, both values and the remedy.</summary>
public sealed class KvStateException : PrefixTorchException
{
    /// <summary>Creates the exception.</summary>
    public KvStateException(string path, string message, Exception? inner = null)
        : base($"{path}: {message}", inner) => Path = path;

    /// <summary>The file.</summary>
    public string Path { get; }
}

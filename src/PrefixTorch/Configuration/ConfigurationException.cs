namespace PrefixTorch.Configuration;

/// <summary>A <c>config.json</c> or <c>generation_config.json</c> is not there, is malformed, or asks for what this library does not do.</summary>
public sealed class ConfigurationException : PrefixTorchException
{
    /// <summary>Creates the exception with the file, what is wrong there, and the remedy.</summary>
    public ConfigurationException(string path, string message, Exception? inner = null) : base($"{path}: {message}", inner)
    {
        Path = path;
    }

    /// <summary>The file that cannot be used.</summary>
    public string Path { get; }
}

namespace PrefixTorch.Checkpoints;

/// <summary>A safetensors file or a checkpoint folder is not what it must be. The message names file and tensor, both values and the remedy.</summary>
public sealed class CheckpointException : PrefixTorchException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="error">Which rule is broken.</param>
    /// <param name="path">The file or folder that breaks it.</param>
    /// <param name="message">What is wrong there, both values, and the remedy; the path is put before it.</param>
    /// <param name="inner">The error that caused this one, if any.</param>
    public CheckpointException(CheckpointError error, string path, string message, Exception? inner = null)
        : base($"{path}: {message}", inner)
    {
        Error = error;
        Path = path;
    }

    /// <summary>Which rule is broken.</summary>
    public CheckpointError Error { get; }

    /// <summary>The file or folder that breaks it.</summary>
    public string Path { get; }
}

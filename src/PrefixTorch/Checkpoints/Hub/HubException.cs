namespace PrefixTorch.Checkpoints.Hub;

/// <summary>A model could not be pulled. The message names the repository or file, what was found, what was expected, and the remedy.</summary>
public sealed class HubException : PrefixTorchException
{
    /// <summary>Creates the exception.</summary>
    public HubException(string message, Exception? inner = null) : base(message, inner)
    {
    }
}

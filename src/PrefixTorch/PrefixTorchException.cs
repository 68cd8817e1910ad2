namespace PrefixTorch;

/// <summary>
/// What every error of this library derives from: something that was asked for could not be done. The message names
/// the thing (file, tensor, option), both values where two disagree, and the remedy.
/// </summary>
public class PrefixTorchException : Exception
{
    /// <summary>Creates the exception with a message that names the thing, the values and the remedy.</summary>
    public PrefixTorchException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception with a message and the error that caused it.</summary>
    public PrefixTorchException(string message, Exception? inner) : base(message, inner)
    {
    }
}

namespace PrefixTorch.Tokenization;

/// <summary>
/// A tokenizer file is missing, broken or asks for something that this library does not do, or an id is not in the
/// vocabulary. The message names the file and the field, or the id.
/// </summary>
public sealed class TokenizerException : PrefixTorchException
{
    /// <summary>Creates the exception with a message that names file, field, value and remedy.</summary>
    public TokenizerException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception with a message and the error that caused it.</summary>
    public TokenizerException(string message, Exception? inner) : base(message, inner)
    {
    }
}

namespace PrefixTorch.Tokenization.Chat;

/// <summary>
/// A chat template could not be read or could not render a conversation. The message names the template's line, what
/// stands there and what would help.
/// </summary>
public sealed class ChatTemplateException : PrefixTorchException
{
    /// <summary>Creates the exception.</summary>
    public ChatTemplateException(string message, int line = 0, Exception? inner = null)
        : base(line > 0 ? $"Chat template, line {line}: {message}" : message, inner)
    {
        Line = line;
    }

    /// <summary>The template's line, counted from 1; 0 where the error is not about a line.</summary>
    public int Line { get; }
}

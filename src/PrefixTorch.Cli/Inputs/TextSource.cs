using System.Text;

namespace PrefixTorch.Cli.Inputs;

/// <summary>
/// Texts on the command line: a text itself, <c>@file</c>, or <c>-</c> for standard input. A file's content is taken as it
/// is, final line break and all: a prompt is exactly what it is. So is a byte order mark, and bytes are UTF-8 whatever they begin with, in a file as on
/// standard input. <c>@@text</c> is a text that begins with @.
/// </summary>
internal sealed class TextSource(Streams streams)
{
    private const char ByteOrderMark = '\uFEFF';

    private static readonly UTF8Encoding s_utf8 = new(encoderShouldEmitUTF8Identifier: false);

    private string? _readBy;

    /// <summary>Whether standard input is something other than a person typing.</summary>
    public bool IsInputRedirected => !streams.InIsTerminal;

    /// <summary>The text that an option's value stands for.</summary>
    /// <param name="value">As it was given.</param>
    /// <param name="option">The option, for messages.</param>
    /// <exception cref="UsageException">Standard input is asked for a second time.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public string Read(string value, string option) => value switch
    {
        "-" => Standard(option).ReadToEnd(),
        ['@', '@', .. string text] => $"@{text}",
        "@" => throw new UsageException($"{option} is @, which is followed by the name of a file; @@ is the text @."),
        ['@', .. string path] => ReadFile(path, option),
        _ => value,
    };

    /// <summary>The JSON in a file, or on standard input where it is called <c>-</c>. A byte order mark is no part of it.</summary>
    public string ReadPath(string path, string option) => (path == "-" ? Standard(option).ReadToEnd() : ReadFile(path, option)).TrimStart(ByteOrderMark);

    /// <summary>The lines of a text as they come: standard input is not read to its end first. They are JSON, of which a byte order mark is no part.</summary>
    public IEnumerable<string> Lines(string value, string option)
    {
        using TextReader reader = value == "-" ? Standard(option) : new StringReader(Read(value, option));
        for (bool first = true; reader.ReadLine() is { } line; first = false)
        {
            yield return first ? line.TrimStart(ByteOrderMark) : line;
        }
    }

    private TextReader Standard(string option)
    {
        if (_readBy is not null)
        {
            throw new UsageException($"{_readBy} and {option} both ask for standard input, which can be read once. Put one of the texts into a file and give @file.");
        }

        _readBy = option;
        return streams.In;
    }

    private static string ReadFile(string path, string option)
    {
        try
        {
            // File.ReadAllText would look for marks of encodings.
            return s_utf8.GetString(File.ReadAllBytes(path));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new PrefixTorchException($"{option}: the file '{path}' cannot be read: {error.Message}", error);
        }
    }
}

using System.Text;

namespace PrefixTorch.Cli;

/// <summary>Standard input, output and error, and whether a person sits at the other end of each.</summary>
internal sealed record Streams(TextReader In, TextWriter Out, TextWriter Err, bool InIsTerminal = false, bool OutIsTerminal = false, bool ErrIsTerminal = false) : IDisposable
{
    private static readonly UTF8Encoding s_utf8 = new(encoderShouldEmitUTF8Identifier: false);

    /// <summary>What Ctrl-C does.</summary>
    public Interrupts Interrupts { get; } = new();

    /// <summary>The process's own, in UTF-8 whatever the locale says: ids and texts must come out as they went in.</summary>
    public static Streams OfThisProcess()
    {
        if (OperatingSystem.IsWindows())
        {
            Console.OutputEncoding = s_utf8;
            Console.InputEncoding = s_utf8;
        }

        return new Streams(
            new StreamReader(Console.OpenStandardInput(), s_utf8, detectEncodingFromByteOrderMarks: false),
            new StreamWriter(Console.OpenStandardOutput(), s_utf8) { AutoFlush = true },
            new StreamWriter(Console.OpenStandardError(), s_utf8) { AutoFlush = true },
            InIsTerminal: !Console.IsInputRedirected,
            OutIsTerminal: !Console.IsOutputRedirected,
            ErrIsTerminal: !Console.IsErrorRedirected);
    }

    /// <summary>Writes out what was held back. Standard input is left to the process: somebody may still wait for a line that will not come.</summary>
    public void Dispose()
    {
        Out.Dispose();
        Err.Dispose();
    }
}

using System.Text;
using Spectre.Console;

namespace PrefixTorch.Cli.Outputs;

/// <summary>Tables, colours and progress on one stream; plain where it is not a terminal.</summary>
internal sealed class Drawing
{
    private readonly Lazy<IAnsiConsole> _console;

    public Drawing(TextWriter writer, bool isTerminal)
    {
        _console = new Lazy<IAnsiConsole>(() => AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = isTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = isTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = isTerminal ? InteractionSupport.Detect : InteractionSupport.No,
            Out = new Target(writer, isTerminal),
        }));
    }

    /// <summary>Spectre's console for the stream.</summary>
    public IAnsiConsole Console => _console.Value;

    /// <summary>Writes something that Spectre draws.</summary>
    public void Write(Spectre.Console.Rendering.IRenderable what) => Console.Write(what);

    private sealed class Target(TextWriter writer, bool isTerminal) : IAnsiConsoleOutput
    {
        // What is not a terminal has no width: tables are as wide as they need to be.
        private const int Unbounded = 4096;

        // A terminal that does not say how large it is.
        private const int UsualWidth = 80;
        private const int UsualHeight = 24;

        public TextWriter Writer => writer;

        public bool IsTerminal => isTerminal;

        public int Width => !isTerminal ? Unbounded : System.Console.WindowWidth is > 0 and int width ? width : UsualWidth;

        public int Height => isTerminal && System.Console.WindowHeight is > 0 and int height ? height : UsualHeight;

        public void SetEncoding(Encoding encoding)
        {
            // The streams are UTF-8 from the start.
        }
    }
}

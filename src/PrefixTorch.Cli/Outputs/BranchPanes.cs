using System.Text;
using PrefixTorch.Generation;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace PrefixTorch.Cli.Outputs;

/// <summary>
/// Branches that grow side by side, each in a pane with its latest text, for people who watch. The panes go when the last branch has ended; the texts
/// themselves are the result and follow.
/// </summary>
internal sealed class BranchPanes : IDisposable
{
    // A pane's border and one line of text; with less room than that for each there are no panes.
    private const int SmallestPane = 3;
    private static readonly TimeSpan s_refresh = TimeSpan.FromMilliseconds(80);

    private readonly string[] _headings;
    private readonly StringBuilder[] _texts;
    private readonly IAnsiConsole _console;
    private readonly int _lines;
    private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _shown = Task.CompletedTask;

    public BranchPanes(Output output, IReadOnlyList<string> headings)
    {
        _headings = [.. headings.Select(heading => heading.ReplaceLineEndings(" ").Trim())];
        _texts = [.. headings.Select(_ => new StringBuilder())];
        _console = output.Results.Console;
        if (output.IsTerminal)
        {
            int pane = (_console.Profile.Height - 1) / headings.Count;
            _lines = pane - SmallestPane + 1;
            _shown = pane >= SmallestPane && headings.Count > 1 ? Task.Run(ShowAsync) : _shown;
        }
    }

    /// <summary>Shows a branch's new token.</summary>
    public void Add(int index, Token token)
    {
        StringBuilder text = _texts[index];
        lock (text)
        {
            text.Append(token.Text);
        }
    }

    /// <summary>Takes the panes away.</summary>
    public void Dispose()
    {
        _end.TrySetResult();
        _shown.GetAwaiter().GetResult();
    }

    private Task ShowAsync() => _console.Live(Draw()).AutoClear(true).StartAsync(async context =>
    {
        while (!_end.Task.IsCompleted)
        {
            context.UpdateTarget(Draw());
            await Task.WhenAny(_end.Task, Task.Delay(s_refresh)).ConfigureAwait(false);
        }
    });

    private Rows Draw() => new(_headings.Select((heading, i) => (IRenderable)new Panel(new Text(Tail(_texts[i])))
        .Header(Markup.Escape($"{i + 1}. {heading}"))
        .Border(BoxBorder.Rounded)
        .Expand()));

    // What fits: as many characters as the pane's lines have, on as few lines.
    private string Tail(StringBuilder text)
    {
        const int Border = 4;
        lock (text)
        {
            int room = Math.Max(1, (_console.Profile.Width - Border) * _lines * 3 / 4);
            return text.ToString(Math.Max(0, text.Length - room), Math.Min(text.Length, room)).ReplaceLineEndings(" ");
        }
    }
}

using PrefixTorch.Cli.Outputs;

namespace PrefixTorch.Cli.Chat;

/// <summary>Reads, answers, reads again; and gives Ctrl-C its meaning: it stops an answer, and ends the chat where there is none.</summary>
internal sealed class ChatLoop(Streams streams, Output output, ChatSession session, ChatCommands commands)
{
    private readonly Lock _gate = new();
    private CancellationTokenSource? _answer;
    private bool _warned;

    /// <summary>Runs until the input ends, or somebody quits.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> RunAsync(CancellationToken cancellation)
    {
        using var quit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        using IDisposable taken = streams.Interrupts.Take(() => Press(quit));
        var input = new ChatInput(streams.In, ShowPrompt);
        bool failed = false;
        try
        {
            while (await input.ReadAsync(quit.Token).ConfigureAwait(false) is { } entry)
            {
                _warned = false;
                try
                {
                    if (entry.IsCommand ? !commands.Run(entry.Text) : !await AnswerAsync(entry.Text, quit.Token).ConfigureAwait(false))
                    {
                        break;
                    }
                }
                catch (Exception error) when (error is PrefixTorchException or IOException or UnauthorizedAccessException)
                {
                    // Said to whoever talks, who can try something else; a program that pipes its lines learns it at the end.
                    output.Error(error.Message);
                    failed = !streams.InIsTerminal;
                }
            }
        }
        catch (OperationCanceledException)
        {
            output.Note("interrupted");
            return ExitCode.Interrupted;
        }

        return failed ? ExitCode.Failed : ExitCode.Done;
    }

    private async Task<bool> AnswerAsync(string text, CancellationToken cancellation)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            return true;
        }

        using var answer = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        lock (_gate)
        {
            _answer = answer;
        }

        try
        {
            await session.AskAsync(text, answer.Token).ConfigureAwait(false);
        }
        finally
        {
            lock (_gate)
            {
                _answer = null;
            }
        }

        cancellation.ThrowIfCancellationRequested();
        return true;
    }

    // Not on the caller's thread: the system's handler would otherwise run what follows, up to the end of the program, which waits for it.
    private void Press(CancellationTokenSource quit)
    {
        lock (_gate)
        {
            if (_answer is not null)
            {
                _ = _answer.CancelAsync();
                _warned = true;
            }
            else if (_warned)
            {
                _ = quit.CancelAsync();
            }
            else
            {
                _warned = true;
                output.Note(Environment.NewLine + "Ctrl-C once more ends the chat, as /quit does.");
            }
        }
    }

    private void ShowPrompt(bool first)
    {
        if (streams.InIsTerminal)
        {
            streams.Err.Write(first ? "> " : "… ");
            streams.Err.Flush();
        }
    }
}

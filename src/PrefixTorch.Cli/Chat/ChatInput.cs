namespace PrefixTorch.Cli.Chat;

/// <summary>What somebody typed.</summary>
/// <param name="Text">The text, without the marks that made it several lines.</param>
/// <param name="IsCommand">Whether it is one of the chat's commands, and not a message.</param>
internal sealed record ChatEntry(string Text, bool IsCommand);

/// <summary>
/// Reads messages: a line each, or several where a line ends with a backslash, or all between <c>"""</c> and <c>"""</c>. A line that begins with a
/// slash is a command; with two, a message that begins with one.
/// </summary>
/// <param name="input">Where from.</param>
/// <param name="showPrompt">Shows that a line is awaited: the first of an entry, or a further one.</param>
internal sealed class ChatInput(TextReader input, Action<bool> showPrompt)
{
    private const string Quotes = "\"\"\"";

    /// <summary>Reads the next entry; null at the end of the input. Cancelling leaves the read behind, since a terminal's cannot be taken back.</summary>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public async Task<ChatEntry?> ReadAsync(CancellationToken cancellation)
    {
        if (await LineAsync(first: true, cancellation).ConfigureAwait(false) is not string line)
        {
            return null;
        }

        if (line.TrimStart().StartsWith(Quotes, StringComparison.Ordinal))
        {
            return new ChatEntry(await BlockAsync(line.TrimStart()[Quotes.Length..], cancellation).ConfigureAwait(false), IsCommand: false);
        }

        List<string> lines = [line];
        while (lines[^1].EndsWith('\\'))
        {
            lines[^1] = lines[^1][..^1];
            if (await LineAsync(first: false, cancellation).ConfigureAwait(false) is not string next)
            {
                break;
            }

            lines.Add(next);
        }

        string text = string.Join('\n', lines);
        return text switch
        {
            ['/', '/', .. string message] => new ChatEntry($"/{message}", IsCommand: false),
            ['/', ..] => new ChatEntry(text, IsCommand: true),
            _ => new ChatEntry(text, IsCommand: false),
        };
    }

    private async Task<string> BlockAsync(string first, CancellationToken cancellation)
    {
        List<string> lines = first.Length > 0 ? [first] : [];
        string? line = first;
        while (line is not null && !line.TrimEnd().EndsWith(Quotes, StringComparison.Ordinal))
        {
            line = await LineAsync(first: false, cancellation).ConfigureAwait(false);
            if (line is not null)
            {
                lines.Add(line);
            }
        }

        if (line is not null)
        {
            string last = line.TrimEnd()[..^Quotes.Length];
            lines.RemoveAt(lines.Count - 1);
            if (last.Length > 0)
            {
                lines.Add(last);
            }
        }

        return string.Join('\n', lines);
    }

    private async Task<string?> LineAsync(bool first, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        showPrompt(first);
        return await Task.Run(input.ReadLine, CancellationToken.None).WaitAsync(cancellation).ConfigureAwait(false);
    }
}

using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Outputs;

namespace PrefixTorch.Cli.Chat;

/// <summary>The lines that begin with a slash.</summary>
/// <param name="session">The conversation.</param>
/// <param name="restore">Restores a state for the conversation's model.</param>
/// <param name="output">Where what they tell goes.</param>
internal sealed class ChatCommands(ChatSession session, Func<string, KvCache> restore, Output output)
{
    private const string Help = """"
        /save FILE      keep the conversation: its state, and what was said
        /load FILE      go on from a state
        /back [N]       take the last N answers back; otherwise one
        /branch [NAME]  keep the present state, and go on from a clone beside it
        /go N|NAME      go to another moment
        /tree           all moments, with their numbers
        /system TEXT    say something as the system, with the next message
        /help           this
        /quit           end
        Several lines: end a line with \, or put """ before the first and after the last. //text is a message that begins with a slash.
        """";

    /// <summary>Does what a line says.</summary>
    /// <returns>Whether the chat goes on.</returns>
    /// <exception cref="PrefixTorchException">There is no such command, or it cannot be done.</exception>
    public bool Run(string line)
    {
        string[] parts = line.Split((char[]?)null, 2, StringSplitOptions.RemoveEmptyEntries);
        string command = parts[0], rest = parts.Length > 1 ? parts[1].Trim() : "";
        switch (command)
        {
            case "/save":
                session.Save(command, Need(rest, "/save FILE"));
                break;
            case "/load":
                session.Load(rest, restore(Need(rest, "/load FILE")));
                break;
            case "/back":
                session.Tree.Back(Count(rest));
                TellWhere();
                break;
            case "/branch":
                output.Note($"Kept as '{session.Tree.Branch(rest.Length > 0 ? rest : null).Name}'; /go leads back there.");
                break;
            case "/go":
                session.Tree.Go(Need(rest, "/go N|NAME"));
                TellWhere();
                break;
            case "/tree":
                output.Progress.Write(session.Tree.Draw());
                break;
            case "/system":
                session.Instruct(Need(rest, "/system TEXT"));
                output.Note("It will be said with the next message.");
                break;
            case "/help" or "/?":
                output.Note(Help);
                break;
            case "/quit" or "/exit" or "/bye":
                return false;
            default:
                throw new PrefixTorchException($"There is no command {command}; /help lists them, and //text is a message that begins with a slash.");
        }

        return true;
    }

    private void TellWhere()
    {
        ChatNode present = session.Tree.Present;
        output.Note(present.Parent is null ? "At the beginning: nothing has been said." : $"At moment {present.Number}: {present.Length} tokens.");
    }

    private static string Need(string rest, string usage) => rest.Length > 0 ? rest : throw new PrefixTorchException($"Something is missing: {usage}.");

    private static int Count(string rest) =>
        rest.Length == 0 ? 1
        : int.TryParse(rest, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count > 0 ? count
        : throw new PrefixTorchException($"/back is followed by '{rest}'; it must be a whole number from 1.");
}

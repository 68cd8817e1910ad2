using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Tokenization.Chat;
using Spectre.Console;

namespace PrefixTorch.Cli.Chat;

/// <summary>
/// All moments of a chat, those that were gone back from included: a state is a value, so keeping one costs its own tokens only. It owns them.
/// </summary>
internal sealed class ChatTree : IDisposable
{
    private readonly List<ChatNode> _nodes = [new(0, null, [], null)];

    public ChatTree() => Present = _nodes[0];

    /// <summary>Where the conversation is.</summary>
    public ChatNode Present { get; private set; }

    /// <summary>Goes on from the present to a new moment, which takes the state over.</summary>
    public void Add(IReadOnlyList<ChatMessage> added, KvCache cache) => Present = Append(Present, added, cache);

    /// <summary>Goes to a restored conversation, moment by moment, beside what there is.</summary>
    public void Load(IEnumerable<(IReadOnlyList<ChatMessage> Added, KvCache Cache)> moments)
    {
        Present = _nodes[0];
        foreach ((IReadOnlyList<ChatMessage> added, KvCache cache) in moments)
        {
            Add(added, cache);
        }
    }

    /// <summary>Goes back by some answers.</summary>
    /// <exception cref="PrefixTorchException">There are fewer.</exception>
    public void Back(int answers)
    {
        ChatNode[] path = [_nodes[0], .. Present.Path];
        Present = answers < path.Length
            ? path[^(answers + 1)]
            : throw new PrefixTorchException($"There {(path.Length == 2 ? "is 1 answer" : $"are {path.Length - 1} answers")} to go back by, not {answers}; /tree shows them.");
    }

    /// <summary>Keeps the present under a name, and goes on from a clone beside it.</summary>
    /// <returns>What was kept.</returns>
    /// <exception cref="PrefixTorchException">Nothing has been said yet.</exception>
    public ChatNode Branch(string? name)
    {
        ChatNode kept = Present;
        if (kept.Parent is null)
        {
            throw new PrefixTorchException("Nothing has been said yet, so there is nothing to branch from; say something first.");
        }

        kept.Name = name ?? $"branch {_nodes.Count(node => node.Name is not null) + 1}";
        Present = Append(kept.Parent, kept.Added, kept.Cache!.Clone());
        return kept;
    }

    /// <summary>Goes to a moment by its number or name.</summary>
    /// <exception cref="PrefixTorchException">There is none.</exception>
    public void Go(string which) => Present =
        _nodes.Find(node => node.Name == which || node.Number.ToString(CultureInfo.InvariantCulture) == which)
        ?? throw new PrefixTorchException($"There is no moment '{which}'; /tree shows their numbers and names, 0 to {_nodes.Count - 1}.");

    /// <summary>The tree, for people.</summary>
    public Tree Draw()
    {
        var tree = new Tree(Label(_nodes[0])).Guide(TreeGuide.Line);
        Hang(tree, _nodes[0]);
        return tree;
    }

    public void Dispose() => _nodes.ForEach(node => node.Dispose());

    private ChatNode Append(ChatNode parent, IReadOnlyList<ChatMessage> added, KvCache cache)
    {
        var node = new ChatNode(_nodes.Count, parent, added, cache);
        _nodes.Add(node);
        parent.Children.Add(node);
        return node;
    }

    private void Hang(IHasTreeNodes under, ChatNode node)
    {
        foreach (ChatNode child in node.Children)
        {
            Hang(under.AddNode(Label(child)), child);
        }
    }

    private Text Label(ChatNode node)
    {
        string said = node switch
        {
            { Parent: null } => "the beginning",
            { Added.Count: 0 } => "a state from elsewhere",
            _ => string.Join(" → ", node.Added.Where(message => message.Role != "system").Select(message => Shorten(message.Content ?? ""))),
        };
        string name = node.Name is null ? "" : $" [{node.Name}]";
        string here = node == Present ? "  ← here" : "";
        return new Text($"{node.Number}{name} {said} ({node.Length} tokens){here}", node == Present ? new Style(decoration: Decoration.Bold) : Style.Plain);
    }

    private static string Shorten(string text)
    {
        const int Width = 32;
        string line = text.ReplaceLineEndings(" ").Trim();
        return line.Length <= Width ? line : $"{line[..Width]}…";
    }
}

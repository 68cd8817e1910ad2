using PrefixTorch.Caching;
using PrefixTorch.Tokenization.Chat;

namespace PrefixTorch.Cli.Chat;

/// <summary>A moment of a conversation: everything up to one answer, as messages and as the model's state. It owns the state.</summary>
/// <param name="number">What people call it by.</param>
/// <param name="parent">The moment before; null for the beginning, when nothing has been said.</param>
/// <param name="added">The messages that came since then; none where they are not known.</param>
/// <param name="cache">The state; null at the beginning.</param>
internal sealed class ChatNode(int number, ChatNode? parent, IReadOnlyList<ChatMessage> added, KvCache? cache) : IDisposable
{
    public int Number => number;

    public ChatNode? Parent => parent;

    public List<ChatNode> Children { get; } = [];

    public IReadOnlyList<ChatMessage> Added => added;

    public KvCache? Cache => cache;

    /// <summary>A name for people.</summary>
    public string? Name { get; set; }

    /// <summary>Tokens of the state.</summary>
    public int Length => cache?.Length ?? 0;

    /// <summary>The moments from the first answer to this one.</summary>
    public IEnumerable<ChatNode> Path => parent is null ? [] : parent.Path.Append(this);

    /// <summary>All messages, or null where the state was made elsewhere and nobody knows what was said in it.</summary>
    public IReadOnlyList<ChatMessage>? Messages => Path.Any(node => node.Added.Count == 0) ? null : [.. Path.SelectMany(node => node.Added)];

    public void Dispose() => cache?.Dispose();
}

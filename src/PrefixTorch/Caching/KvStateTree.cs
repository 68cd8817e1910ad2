using System.Text;

namespace PrefixTorch.Caching;

/// <summary>The state files of a folder by who continues whom. Keys and values are not looked at.</summary>
public sealed class KvStateTree
{
    private KvStateTree(IReadOnlyList<Node> roots, IReadOnlyList<(string Path, string Reason)> others)
    {
        Roots = roots;
        Others = others;
    }

    /// <summary>The states that continue none, or one that is not there.</summary>
    public IReadOnlyList<Node> Roots { get; }

    /// <summary>The safetensors files that could not be read as states, and why.</summary>
    public IReadOnlyList<(string Path, string Reason)> Others { get; }

    /// <summary>Reads the <c>*.safetensors</c> of a folder, in the order of their names.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="PrefixTorchException">There is no such folder.</exception>
    public static KvStateTree Read(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new PrefixTorchException($"There is no folder {Path.GetFullPath(folder)}; give one that holds state files.");
        }

        List<(string, string)> others = [];
        List<Node> nodes = [];
        foreach (string path in Directory.EnumerateFiles(folder, "*.safetensors").Order(StringComparer.Ordinal))
        {
            try
            {
                nodes.Add(new Node(KvStateInfo.Read(path)));
            }
            catch (PrefixTorchException e)
            {
                others.Add((path, e.Message));
            }
        }

        // Two copies of a file have one digest: the first is the parent.
        Dictionary<string, Node> byDigest = [];
        nodes.ForEach(node => byDigest.TryAdd(node.State.Digest, node));
        List<Node> roots = [];
        foreach (Node node in nodes)
        {
            if (node.State.ParentDigest is string digest && byDigest.TryGetValue(digest, out Node? parent))
            {
                parent.Add(node);
            }
            else
            {
                roots.Add(node);
            }
        }

        return new KvStateTree(roots, others);
    }

    /// <summary>The tree as lines of text.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        foreach (Node root in Roots)
        {
            Draw(root, "", "");
        }

        return text.ToString();

        void Draw(Node node, string first, string rest)
        {
            KvStateInfo state = node.State;
            string title = state.Name is null ? Path.GetFileName(state.Path) : $"{Path.GetFileName(state.Path)} '{state.Name}'";
            string tokens = state.Parent is null ? $"{state.Length} tokens" : $"{state.ParentLength} + {state.OwnLength} tokens";
            text.Append(first).Append(title).Append("  ").Append(tokens).Append(node.IsOrphan ? $", parent {state.Parent} is not here" : "").Append('\n');
            for (int i = 0; i < node.Children.Count; i++)
            {
                bool last = i == node.Children.Count - 1;
                Draw(node.Children[i], rest + (last ? "└─ " : "├─ "), rest + (last ? "   " : "│  "));
            }
        }
    }

    /// <summary>A state and those that continue it.</summary>
    public sealed class Node
    {
        private readonly List<Node> _children = [];

        internal Node(KvStateInfo state) => State = state;

        /// <summary>The state.</summary>
        public KvStateInfo State { get; }

        /// <summary>The states that continue it.</summary>
        public IReadOnlyList<Node> Children => _children;

        /// <summary>Whether it continues a state that is not in the folder, or not what it was.</summary>
        public bool IsOrphan => State.Parent is not null && !HasParent;

        private bool HasParent { get; set; }

        internal void Add(Node child)
        {
            child.HasParent = true;
            _children.Add(child);
        }
    }
}

namespace PrefixTorch.Caching;

/// <content>Where a cache came from and what came from it.</content>
public sealed partial class KvCache
{
    // One lock for all trees: held for a few pointer writes, once for a clone and once for its end.
    private static readonly Lock s_tree = new();

    private readonly TreeNode _node;
    private volatile string? _name;

    /// <summary>A name for people, kept by <see cref="Save"/>; null where it has none. A clone begins without.</summary>
    public string? Name
    {
        get => _name;
        set => _name = value;
    }

    /// <summary>
    /// The cache that this one was cloned from or continues, if it is still there; where it was disposed, the one that it came from itself. Null for
    /// a cache that was read from nothing or restored. Nothing is kept alive by this.
    /// </summary>
    public KvCache? Parent
    {
        get
        {
            lock (s_tree)
            {
                for (TreeNode? node = _node.Parent; node is not null; node = node.Parent)
                {
                    if (node.Cache.TryGetTarget(out KvCache? cache))
                    {
                        return cache;
                    }
                }

                return null;
            }
        }
    }

    /// <summary>The caches that came from this one and are still there, in no order. A disposed cache's children are its parent's.</summary>
    public IReadOnlyList<KvCache> Children
    {
        get
        {
            List<KvCache> children = [];
            lock (s_tree)
            {
                Collect(_node, children);
            }

            return children;
        }
    }

    private static void Collect(TreeNode node, List<KvCache> into)
    {
        foreach (TreeNode child in node.Children ?? [])
        {
            if (child.Cache.TryGetTarget(out KvCache? cache))
            {
                into.Add(cache);
            }
            else
            {
                // Forgotten, not disposed: what came from it came from here.
                Collect(child, into);
            }
        }
    }

    /// <summary>A cache's place among those that it came from and that came from it: outlives the cache where others hang on it.</summary>
    private sealed class TreeNode(KvCache cache)
    {
        public WeakReference<KvCache> Cache { get; } = new(cache);

        public TreeNode? Parent { get; private set; }

        public HashSet<TreeNode>? Children { get; private set; }

        /// <summary>Hangs the node under another.</summary>
        public void Join(TreeNode parent)
        {
            lock (s_tree)
            {
                // The parent may have been disposed a moment ago, and has then handed its children on already.
                TreeNode? living = parent;
                while (living is { _left: true })
                {
                    living = living.Parent;
                }

                Parent = living;
                if (living is not null)
                {
                    (living.Children ??= []).Add(this);
                }
            }
        }

        /// <summary>Leaves the tree and hands the children on to the parent.</summary>
        public void Leave()
        {
            lock (s_tree)
            {
                _left = true;
                Parent?.Children!.Remove(this);
                foreach (TreeNode child in Children ?? [])
                {
                    child.Parent = Parent;
                    if (Parent is not null)
                    {
                        (Parent.Children ??= []).Add(child);
                    }
                }

                Children = null;
            }
        }

        private bool _left;
    }
}

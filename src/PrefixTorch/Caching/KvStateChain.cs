namespace PrefixTorch.Caching;

/// <summary>A state file and those that it continues, all open: the file first, the whole one last.</summary>
internal sealed class KvStateChain : IDisposable
{
    private const int LongestChain = 1000;

    private KvStateChain()
    {
    }

    /// <summary>The files.</summary>
    public List<KvStatePart> Parts { get; } = [];

    /// <summary>The file that was asked for.</summary>
    public KvStatePart Last => Parts[0];

    /// <summary>Opens a file and finds its parents: beside the file, then in <paramref name="folders"/>. The caller disposes the chain.</summary>
    /// <exception cref="KvStateException">A parent is missing, or is not what it was; the message has both values.</exception>
    public static KvStateChain Open(string path, IReadOnlyList<string> folders)
    {
        var chain = new KvStateChain();
        try
        {
            chain.Parts.Add(KvStatePart.Open(path));
            while (chain.Parts[^1].Header.Parent is KvStateParent parent)
            {
                KvStatePart child = chain.Parts[^1];
                if (chain.Parts.Count == LongestChain)
                {
                    throw new KvStateException(path, $"the state continues more than {LongestChain} files. Make one file of it before the chain grows so long (`prefixtorch state compact`).");
                }

                chain.Parts.Add(Find(child, parent, folders));
                Check(child, chain.Parts[^1], parent);
            }

            return chain;
        }
        catch
        {
            chain.Dispose();
            throw;
        }
    }

    public void Dispose() => Parts.ForEach(part => part.Dispose());

    /// <summary>Where a parent may lie: its path from the child's folder, its name there, its name in the folders that were given.</summary>
    public static IEnumerable<string> Places(string child, KvStateParent parent, IReadOnlyList<string> folders)
    {
        string own = Path.GetDirectoryName(Path.GetFullPath(child))!;
        string name = Path.GetFileName(parent.File);
        return new[] { Path.IsPathRooted(parent.File) ? name : parent.File, name }.Select(file => Path.GetFullPath(Path.Combine(own, file)))
            .Concat(folders.Select(folder => Path.GetFullPath(Path.Combine(folder, name))))
            .Distinct();
    }

    private static KvStatePart Find(KvStatePart child, KvStateParent parent, IReadOnlyList<string> folders)
    {
        string[] places = [.. Places(child.Path, parent, folders)];
        string? changed = null;
        foreach (string place in places.Where(File.Exists))
        {
            KvStatePart part;
            try
            {
                part = KvStatePart.Open(place);
            }
            catch (PrefixTorchException e)
            {
                changed ??= e.Message;
                continue;
            }

            string digest = part.Digest;
            if (digest == parent.Digest)
            {
                return part;
            }

            part.Dispose();
            changed ??= $"{place} has the digest {digest}";
        }

        throw new KvStateException(child.Path, changed is null
            ? $"its parent '{parent.File}' (digest {parent.Digest}) is missing: it is not at {string.Join(", ", places)}. Put it beside this file, or name its folder (StatePath, --state-path)."
            : $"its parent '{parent.File}' had the digest {parent.Digest} when this file was written, but {changed}. Restore the parent that it was, or make the state again.");
    }

    private static void Check(KvStatePart child, KvStatePart part, KvStateParent parent)
    {
        if (parent.Length > part.Header.Length)
        {
            throw child.Broken($"it begins with {parent.Length} tokens of its parent, which has {part.Header.Length}");
        }

        if (part.Header.Layout with { DType = child.Header.Layout.DType } != child.Header.Layout || part.Header.Identity with { Model = "" } != child.Header.Identity with { Model = "" })
        {
            throw child.Broken($"it was made by another model than its parent {part.Path}");
        }
    }
}

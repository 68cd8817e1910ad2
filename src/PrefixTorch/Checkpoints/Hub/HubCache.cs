namespace PrefixTorch.Checkpoints.Hub;

/// <summary>
/// A repository's folder in huggingface_hub's layout: blobs by hash, snapshots by commit whose files are links to blobs,
/// and refs that say which commit a branch is. A blob appears under its name only when it is complete and checked, and a
/// ref only when its snapshot is complete.
/// </summary>
internal sealed class HubCache(string cacheFolder, string repository)
{
    public const string ModelPrefix = "models--";
    public const string Snapshots = "snapshots";

    private readonly string _folder = Path.Combine(cacheFolder, ModelPrefix + repository.Replace("/", "--", StringComparison.Ordinal));

    public string Snapshot(string commit) => Path.Combine(_folder, Snapshots, commit);

    public string Blob(HubFile file) => Path.Combine(_folder, "blobs", file.Hash);

    public string Incomplete(HubFile file) => Blob(file) + ".incomplete";

    public void Create() => Directory.CreateDirectory(Path.Combine(_folder, "blobs"));

    /// <summary>Whether the file is here, whole.</summary>
    public bool Has(string commit, HubFile file) => Length(Blob(file)) == file.Size || Length(Pointer(commit, file)) == file.Size;

    /// <summary>How much of the file is here already.</summary>
    public long Present(string commit, HubFile file) => Has(commit, file) ? file.Size : Math.Min(file.Size, Math.Max(0, Length(Incomplete(file))));

    /// <summary>Makes the snapshot's file: a link to the blob, or the blob itself where the file system has no links.</summary>
    public void Link(string commit, HubFile file)
    {
        string pointer = Pointer(commit, file);
        string target = string.Concat(Enumerable.Repeat("../", file.Path.Count(c => c == '/') + 2)) + "blobs/" + file.Hash;
        if (new FileInfo(pointer).LinkTarget == target || (!File.Exists(Blob(file)) && Length(pointer) == file.Size))
        {
            return;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(pointer)!);
        string link = Path.Combine(_folder, "blobs", $"{file.Hash}.{Guid.NewGuid():N}.link");
        try
        {
            File.CreateSymbolicLink(link, target);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            File.Move(Blob(file), pointer, overwrite: true);
            return;
        }

        File.Move(link, pointer, overwrite: true);
    }

    /// <summary>The snapshot that a branch, tag or commit leads to; null where it is not here.</summary>
    public string? Find(string revision)
    {
        string path = Ref(revision);
        string commit = File.Exists(path) ? File.ReadAllText(path).Trim() : revision;
        return HubNames.IsCommit(commit) && Directory.Exists(Snapshot(commit)) ? Snapshot(commit) : null;
    }

    public void WriteRef(string revision, string commit)
    {
        string path = Ref(revision);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        string temporary = Path.Combine(_folder, "blobs", $"{Guid.NewGuid():N}.ref");
        File.WriteAllText(temporary, commit);
        File.Move(temporary, path, overwrite: true);
    }

    private string Ref(string revision) => Path.Combine(_folder, "refs", Path.Combine(revision.Split('/')));

    private string Pointer(string commit, HubFile file) => Path.Combine(Snapshot(commit), Path.Combine(file.Path.Split('/')));

    // -1 where there is nothing. Of a link, the length of what it leads to.
    private static long Length(string path)
    {
        FileSystemInfo? file = new FileInfo(path);
        if (file.LinkTarget is not null)
        {
            file = file.ResolveLinkTarget(returnFinalTarget: true);
        }

        return file is FileInfo { Exists: true } found ? found.Length : -1;
    }
}

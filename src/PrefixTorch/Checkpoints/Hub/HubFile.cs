namespace PrefixTorch.Checkpoints.Hub;

/// <summary>A file of a repository, as the hub publishes it.</summary>
/// <param name="Path">Its path in the repository, with '/'.</param>
/// <param name="Size">Its bytes.</param>
/// <param name="Hash">In hex: the SHA-256 of its bytes (64 digits; large files), or git's SHA-1 of it (40 digits).</param>
internal sealed record HubFile(string Path, long Size, string Hash)
{
    public bool IsSha256 => Hash.Length == 64;
}

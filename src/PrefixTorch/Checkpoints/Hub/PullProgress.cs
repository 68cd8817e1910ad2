namespace PrefixTorch.Checkpoints.Hub;

/// <summary>How far a pull is.</summary>
/// <param name="File">The file that something arrived of.</param>
/// <param name="Bytes">The bytes that are here, of all files, what earlier pulls brought included.</param>
/// <param name="TotalBytes">The bytes of all files.</param>
public readonly record struct PullProgress(string File, long Bytes, long TotalBytes);

/// <summary>What a pull brought.</summary>
/// <param name="Folder">The snapshot's folder, which a model is loaded from.</param>
/// <param name="Commit">The commit that it is a snapshot of.</param>
/// <param name="Files">The paths of its files.</param>
/// <param name="TotalBytes">Their bytes.</param>
/// <param name="DownloadedBytes">The bytes that came over the network this time.</param>
public sealed record PullResult(string Folder, string Commit, IReadOnlyList<string> Files, long TotalBytes, long DownloadedBytes);

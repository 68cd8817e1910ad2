using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;

namespace PrefixTorch.Checkpoints.Hub;

/// <summary>The hash by which the hub calls a file: SHA-256 of a large one, git's SHA-1 of a small one.</summary>
internal sealed class BlobHash : IDisposable
{
    private readonly IncrementalHash _hash;

    [SuppressMessage("Security", "CA5350", Justification = "git names small files by SHA-1, and nothing else is published for them.")]
    public BlobHash(HubFile file)
    {
        _hash = IncrementalHash.CreateHash(file.IsSha256 ? HashAlgorithmName.SHA256 : HashAlgorithmName.SHA1);
        if (!file.IsSha256)
        {
            _hash.AppendData(Encoding.ASCII.GetBytes($"blob {file.Size}\0"));
        }
    }

    public void Append(ReadOnlySpan<byte> bytes) => _hash.AppendData(bytes);

    public string Finish() => Convert.ToHexStringLower(_hash.GetHashAndReset());

    public void Dispose() => _hash.Dispose();
}

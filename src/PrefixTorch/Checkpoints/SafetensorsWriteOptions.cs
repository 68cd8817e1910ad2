namespace PrefixTorch.Checkpoints;

/// <summary>How a safetensors file is written.</summary>
internal sealed record SafetensorsWriteOptions
{
    /// <summary>The prefix of the metadata keys that hold checksums, before the tensor's name.</summary>
    public const string ChecksumPrefix = "xxh3.";

    /// <summary>Make sure that the bytes are on the disk before the file takes its name (fsync). On by default.</summary>
    public bool FlushToDisk { get; init; } = true;

    /// <summary>
    /// Keep a checksum of every tensor: XXH3 of its bytes as 16 hex digits, in the metadata under <c>xxh3.</c> + name. Their
    /// places in the header are reserved, so that the payload is passed over once, as it is written.
    /// </summary>
    public bool Checksums { get; init; }

    /// <summary>Stops between two large pieces; the file is then not written.</summary>
    public CancellationToken Cancellation { get; init; }
}

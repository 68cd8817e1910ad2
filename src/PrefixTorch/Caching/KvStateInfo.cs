namespace PrefixTorch.Caching;

/// <summary>What a state file says of itself, read without a model.</summary>
public sealed record KvStateInfo
{
    /// <summary>What the metadata of every state file has as its <c>format</c>.</summary>
    public const string Format = "prefixtorch.kv_state";

    /// <summary>The file.</summary>
    public required string Path { get; init; }

    /// <summary>Its size.</summary>
    public required long FileBytes { get; init; }

    /// <summary>The format's version.</summary>
    public required int Version { get; init; }

    /// <summary>What tells this file from any other: 32 hex digits. A delta names its parent by it.</summary>
    public required string Digest { get; init; }

    /// <summary>The cache's name, or null.</summary>
    public string? Name { get; init; }

    /// <summary>The name of the model that made it.</summary>
    public required string Model { get; init; }

    /// <summary>Fingerprint of the weights.</summary>
    public required string Weights { get; init; }

    /// <summary>Fingerprint of the angles that the keys were turned by.</summary>
    public required string Rope { get; init; }

    /// <summary>Fingerprint of the tokenizer; empty where the model came without.</summary>
    public required string Tokenizer { get; init; }

    /// <summary>Shape and type of a token's keys and values, as the cache had them.</summary>
    public required KvLayout Layout { get; init; }

    /// <summary>Tokens of the sequence.</summary>
    public required int Length { get; init; }

    /// <summary>Tokens that the file itself holds: all of them, but for a delta.</summary>
    public int OwnLength => Length - (ParentLength ?? 0);

    /// <summary>The file that it continues, a path from its own folder; null where it is whole.</summary>
    public string? Parent { get; init; }

    /// <summary>What the parent's <see cref="Digest"/> must be.</summary>
    public string? ParentDigest { get; init; }

    /// <summary>Tokens that it has from the parent.</summary>
    public int? ParentLength { get; init; }

    /// <summary>The generation that chose the last tokens, or null.</summary>
    public KvRun? Run { get; init; }

    /// <summary>Whether the logits after the last token are there.</summary>
    public required bool HasLogits { get; init; }

    /// <summary>How keys and values are held.</summary>
    public required KvQuantization Quantization { get; init; }

    /// <summary>Root mean square of the error of quantizing for the file, relative to that of the numbers; null where nothing was, an 8-bit cache included.</summary>
    public double? QuantizationError { get; init; }

    /// <summary>When it was written.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>Facts of its making, such as the CPU: recorded, never compared.</summary>
    public required IReadOnlyDictionary<string, string> Facts { get; init; }

    /// <summary>The ids of the file's own tokens.</summary>
    public required IReadOnlyList<int> OwnTokens { get; init; }

    /// <summary>The text of the file's own tokens, or null where it was not written.</summary>
    public string? OwnText { get; init; }

    /// <summary>Reads it. Keys and values are not looked at.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="KvStateException">It is no state file, of a later version, or damaged.</exception>
    /// <exception cref="Checkpoints.CheckpointException">It is not there, truncated or damaged.</exception>
    public static KvStateInfo Read(string path)
    {
        using KvStatePart part = KvStatePart.Open(path);
        return Of(part);
    }

    internal static KvStateInfo Of(KvStatePart part)
    {
        KvStateHeader header = part.Header;
        return new KvStateInfo
        {
            Path = part.Path,
            FileBytes = part.File.Block.ByteCount,
            Version = header.Version,
            Digest = part.Digest,
            Name = header.Name,
            Model = header.Identity.Model,
            Weights = header.Identity.Weights,
            Rope = header.Identity.Rope,
            Tokenizer = header.Identity.Tokenizer,
            Layout = header.Layout,
            Length = header.Length,
            Parent = header.Parent?.File,
            ParentDigest = header.Parent?.Digest,
            ParentLength = header.Parent?.Length,
            Run = header.Run,
            HasLogits = part.Logits is not null,
            Quantization = header.Quantization,
            QuantizationError = header.QuantizationError,
            Created = header.Created,
            Facts = header.Facts,
            OwnTokens = part.ReadIds(),
            OwnText = part.ReadText(),
        };
    }
}

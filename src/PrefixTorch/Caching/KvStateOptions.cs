namespace PrefixTorch.Caching;

/// <summary>How keys and values are held in a state file.</summary>
public enum KvQuantization
{
    /// <summary>As the cache has them, be that 8 bits: restored bit for bit, by mapping.</summary>
    None,

    /// <summary>
    /// In 8 bits with a scale for each head and token: about half the bytes of 16-bit numbers, and an error that the file records
    /// (<see cref="KvStateInfo.QuantizationError"/>). Mapped for a model whose caches are of 8 bits, widened for others.
    /// </summary>
    Int8,
}

/// <summary>How a state is written.</summary>
public sealed record KvSaveOptions
{
    /// <summary>Make sure that the bytes are on the disk before the file takes its name.</summary>
    public bool FlushToDisk { get; init; } = true;

    /// <summary>
    /// A state file that this cache continues: only what comes after it is written, with the parent's name and digest. The parent must stay as it is, beside
    /// this file or in a folder that loading is told of. Null: everything is written.
    /// </summary>
    public string? Parent { get; init; }

    /// <summary>How keys and values are held.</summary>
    public KvQuantization Quantization { get; init; }

    /// <summary>Write the tokens' text as well, for people who open the file.</summary>
    public bool IncludeText { get; init; } = true;

    /// <summary>Facts to record beside the library's own, for people; none is ever compared.</summary>
    public IReadOnlyDictionary<string, string> Facts { get; init; } = new Dictionary<string, string>();
}

/// <summary>How a state is read.</summary>
public sealed record KvLoadOptions
{
    /// <summary>Believe keys, values and logits without comparing their checksums; ids and header are verified all the same.</summary>
    public bool Trust { get; init; }

    /// <summary>
    /// Convert keys and values where the state was of another type than the model's; otherwise that is refused. What was quantized for the file alone is widened in
    /// any case.
    /// </summary>
    public bool Convert { get; init; }

    /// <summary>Folders where the parents of delta files are looked for, after the file's own and before the model's.</summary>
    public IReadOnlyList<string> StatePath { get; init; } = [];

    /// <summary>
    /// Caches of the same model that were restored before: where one begins with the parent of the file, its memory is shared and the parent's file not read, so that
    /// many branches restored from small files lie over one prefix. They stay the caller's.
    /// </summary>
    public IReadOnlyList<KvCache> Parents { get; init; } = [];
}

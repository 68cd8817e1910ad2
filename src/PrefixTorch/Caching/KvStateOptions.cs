namespace PrefixTorch.Caching;

/// <summary>How a state is written.</summary>
public sealed record KvSaveOptions
{
    /// <summary>Make sure that the bytes are on the disk before the file takes its name.</summary>
    public bool FlushToDisk { get; init; } = true;

    /// <summary>Facts to record beside the library's own, for people; none is ever compared.</summary>
    public IReadOnlyDictionary<string, string> Facts { get; init; } = new Dictionary<string, string>();
}

/// <summary>How a state is read.</summary>
public sealed record KvLoadOptions
{
    /// <summary>Believe keys, values and logits without comparing their checksums; ids and header are verified all the same.</summary>
    public bool Trust { get; init; }

    /// <summary>Convert keys and values where the file holds another dtype than the model; otherwise that is refused.</summary>
    public bool Convert { get; init; }
}

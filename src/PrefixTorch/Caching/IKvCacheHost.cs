namespace PrefixTorch.Caching;

/// <summary>What a cache needs of the model it belongs to; a loaded <c>Llama</c> is one.</summary>
public interface IKvCacheHost
{
    /// <summary>What must match for keys and values to mean the same.</summary>
    internal KvIdentity Identity { get; }

    /// <summary>The shape and type of the keys and values that this model appends.</summary>
    internal KvLayout Layout { get; }

    /// <summary>Whether caches lie in host memory, where a state file can be mapped.</summary>
    internal bool IsOnHost { get; }

    /// <summary>Token ids are below this (V).</summary>
    internal int VocabSize { get; }

    /// <summary>Positions that the model has.</summary>
    internal int MaxPositionEmbeddings { get; }

    /// <summary>Folders where the parents of delta state files are looked for, after the file's own.</summary>
    internal IReadOnlyList<string> StatePath { get; }

    /// <summary>The text of tokens, for whoever reads a state file; null where the model came without a tokenizer.</summary>
    internal string? Decode(int[] ids);

    /// <summary>An empty buffer on the model's device; <paramref name="fills"/> tells that most of it is about to be written.</summary>
    internal KvBuffer Allocate(int capacity, bool fills);

    /// <summary>Computes keys and values of the cache's last tokens that have none yet, and the logits after them.</summary>
    internal void Evaluate(KvCache cache);
}

/// <summary>What must match for keys and values to mean the same: who made them.</summary>
/// <param name="Model">A name for people.</param>
/// <param name="Weights">Fingerprint of the weights.</param>
/// <param name="Rope">Fingerprint of what the keys were rotated with.</param>
/// <param name="Tokenizer">Fingerprint of what made the ids, or empty where a model came without.</param>
internal sealed record KvIdentity(string Model, string Weights, string Rope, string Tokenizer);

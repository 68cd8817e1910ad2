using PrefixTorch.Memory;

namespace PrefixTorch.Generation;

/// <summary>How a model is loaded. What is <see langword="null"/> is chosen for the checkpoint and this machine.</summary>
public sealed record LlamaOptions
{
    /// <summary>How weights are held in memory: <see cref="Memory.DType.Float32"/>, <see cref="Memory.DType.BFloat16"/> or <see cref="Memory.DType.Float16"/>; null: as stored, mapped from the file.</summary>
    public DType? DType { get; init; }

    /// <summary>How keys and values are held; null: as the weights.</summary>
    public DType? KvDType { get; init; }

    /// <summary><c>cpu</c>, <c>cuda</c> or <c>cuda:n</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Threads that compute; null: one for each processor.</summary>
    public int? Threads { get; init; }

    /// <summary>Tokens read in one forward pass at most; chunks lie on a fixed grid of absolute positions.</summary>
    public int PrefillChunk { get; init; } = 512;

    /// <summary>A file to take the defaults of sampling and the end tokens from, instead of the checkpoint's <c>generation_config.json</c>.</summary>
    public string? GenerationConfigFile { get; init; }

    /// <summary>Folders where the parents of delta state files are looked for, after the file's own.</summary>
    public IReadOnlyList<string> StatePath { get; init; } = [];
}

using PrefixTorch.Memory;

namespace PrefixTorch.Generation;

/// <summary>What weights are quantized to. Activations stay in floating point.</summary>
public enum Quantization
{
    /// <summary>A byte a weight, one scale for each output channel.</summary>
    Int8,

    /// <summary>Four and a half bits a weight: four and, for each 32, a scale.</summary>
    Int4,
}

/// <summary>How a model is loaded. What is <see langword="null"/> is chosen for the checkpoint and this machine.</summary>
public sealed record LlamaOptions
{
    /// <summary>How weights are held in memory: <see cref="Memory.DType.Float32"/>, <see cref="Memory.DType.BFloat16"/> or <see cref="Memory.DType.Float16"/>; null: as stored, mapped from the file. Not for quantized weights.</summary>
    public DType? DType { get; init; }

    /// <summary>
    /// Weights as codes: made once, beside the model (or in the user's cache folder, where that cannot be written), and mapped from there. Null:
    /// as stored.
    /// </summary>
    public Quantization? Quantization { get; init; }

    /// <summary>Told of the matrices done, of how many, where codes are made now.</summary>
    public IProgress<(int Done, int Total)>? QuantizationProgress { get; init; }

    /// <summary>Whether weights that are held as stored stay in the mapped file or are copied.</summary>
    public LoadMode Load { get; init; }

    /// <summary>
    /// How keys and values are held: <see cref="Memory.DType.Float32"/>, <see cref="Memory.DType.BFloat16"/>, <see cref="Memory.DType.Float16"/>, or
    /// <see cref="Memory.DType.Int8"/> with a scale for each head and token, about half the bytes of 16 bits; null: as the weights.
    /// </summary>
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

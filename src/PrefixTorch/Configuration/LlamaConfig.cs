using PrefixTorch.Memory;

namespace PrefixTorch.Configuration;

/// <summary>
/// What the math reads: the resolved and checked form of a <c>config.json</c> of any <c>LlamaForCausalLM</c>. Every default is
/// filled in and every size is positive. Immutable.
/// </summary>
public sealed record LlamaConfig
{
    /// <summary>The file name in a checkpoint's folder.</summary>
    public const string FileName = "config.json";

    /// <summary>The width of the hidden states (C).</summary>
    public required int HiddenSize { get; init; }

    /// <summary>The width inside the feed-forward.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>The number of decoder layers.</summary>
    public required int NumHiddenLayers { get; init; }

    /// <summary>The number of query heads (H).</summary>
    public required int NumAttentionHeads { get; init; }

    /// <summary>The number of key and value heads (KV); divides <see cref="NumAttentionHeads"/>.</summary>
    public required int NumKeyValueHeads { get; init; }

    /// <summary>The width of a head (D), an even number. Need not be C / H.</summary>
    public required int HeadDim { get; init; }

    /// <summary>The number of tokens (V), the rows of the embedding.</summary>
    public required int VocabSize { get; init; }

    /// <summary>What is added to the mean square in RMSNorm.</summary>
    public double RmsNormEps { get; init; } = 1e-6;

    /// <summary>The length in tokens that the model is meant for.</summary>
    public int MaxPositionEmbeddings { get; init; } = 2048;

    /// <summary>Whether the embedding serves as <c>lm_head</c> too.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>Whether the four projections of the attention have a bias.</summary>
    public bool AttentionBias { get; init; }

    /// <summary>Whether the three projections of the feed-forward have a bias.</summary>
    public bool MlpBias { get; init; }

    /// <summary>The token that starts a text, if there is one.</summary>
    public int? BosTokenId { get; init; } = 1;

    /// <summary>The tokens that end a text, as config.json says; <see cref="GenerationConfig.EosTokenIds"/> is what generation goes by.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [2];

    /// <summary>The dtype of the checkpoint, if it says so. What each tensor really has is in its file.</summary>
    public DType? DType { get; init; }

    /// <summary>How positions turn queries and keys.</summary>
    public required RopeConfig Rope { get; init; }

    /// <summary>How the checkpoint was quantized, or null where it was not.</summary>
    public QuantizationConfig? Quantization { get; init; }

    /// <summary>Reads and checks a checkpoint's <c>config.json</c>.</summary>
    /// <param name="folder">The folder that holds it.</param>
    /// <exception cref="ConfigurationException">
    /// The file is not there or not JSON, or describes a model that is not a Llama, or asks for something that would change the math and
    /// is not understood.
    /// </exception>
    public static LlamaConfig Load(string folder)
    {
        string path = Path.Combine(folder, FileName);
        return Parse(JsonFile.ReadBytes(path) ?? throw new ConfigurationException(path, "the file is not there. Give the folder that holds config.json and the weights."), path);
    }

    /// <summary>Reads and checks the text of a <c>config.json</c>.</summary>
    /// <param name="json">UTF-8 JSON.</param>
    /// <param name="path">What messages call it.</param>
    /// <exception cref="ConfigurationException">As for <see cref="Load"/>.</exception>
    public static LlamaConfig Parse(ReadOnlySpan<byte> json, string path = FileName) =>
        JsonFile.Parse(json, JsonFile.Default.ConfigFile, path, file => ConfigResolver.Resolve(file, path));
}

using System.Text.Json;

namespace PrefixTorch.Configuration;

/// <summary>
/// <c>config.json</c> as it is on disk: everything may be absent, and keys have had more than one spelling. Keys that are not listed
/// here do not change the math of a <c>LlamaForCausalLM</c>. Elements are undefined where the key is absent, which is not always what null means.
/// </summary>
internal sealed record ConfigFile
{
    public string[]? Architectures { get; init; }

    public string? ModelType { get; init; }

    public int? HiddenSize { get; init; }

    public int? IntermediateSize { get; init; }

    public int? NumHiddenLayers { get; init; }

    public int? NumAttentionHeads { get; init; }

    public int? NumKeyValueHeads { get; init; }

    public int? HeadDim { get; init; }

    public int? VocabSize { get; init; }

    public double? RmsNormEps { get; init; }

    public int? MaxPositionEmbeddings { get; init; }

    public bool? TieWordEmbeddings { get; init; }

    public bool? AttentionBias { get; init; }

    public bool? MlpBias { get; init; }

    public string? HiddenAct { get; init; }

    /// <summary>An integer, or a list of which the first is taken.</summary>
    public JsonElement BosTokenId { get; init; }

    /// <summary>An integer or a list.</summary>
    public JsonElement EosTokenId { get; init; }

    /// <summary>Since transformers 5.</summary>
    public string? Dtype { get; init; }

    /// <summary>Before transformers 5.</summary>
    public string? TorchDtype { get; init; }

    /// <summary>Since transformers 5, <c>rope_theta</c> inside.</summary>
    public JsonElement RopeParameters { get; init; }

    /// <summary>Before transformers 5.</summary>
    public JsonElement RopeScaling { get; init; }

    /// <summary>Before transformers 5.</summary>
    public double? RopeTheta { get; init; }

    public double? PartialRotaryFactor { get; init; }

    public int? OriginalMaxPositionEmbeddings { get; init; }

    public JsonElement QuantizationConfig { get; init; }

    /// <summary>What compressed-tensors called <c>quantization_config</c> at first.</summary>
    public JsonElement CompressionConfig { get; init; }
}

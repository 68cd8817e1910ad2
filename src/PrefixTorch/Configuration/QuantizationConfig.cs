namespace PrefixTorch.Configuration;

/// <summary>How a published checkpoint was quantized: 8-bit floats with scales beside them, which are widened on loading.</summary>
/// <param name="QuantMethod">As config.json spells it: <c>fp8</c>, <c>fbgemm_fp8</c> or <c>compressed-tensors</c>.</param>
/// <param name="WeightBlockRows">Output channels that share a scale, where scales are per block.</param>
/// <param name="WeightBlockColumns">Input channels that share a scale, where scales are per block.</param>
public sealed record QuantizationConfig(string QuantMethod, int WeightBlockRows = 128, int WeightBlockColumns = 128);

namespace PrefixTorch.Configuration;

/// <summary>
/// How a checkpoint was quantized: to 8-bit floats with scales beside them, as published, which are widened on loading; or to our own codes.
/// </summary>
/// <param name="QuantMethod">As config.json spells it: <c>fp8</c>, <c>fbgemm_fp8</c>, <c>compressed-tensors</c>, or our own.</param>
/// <param name="WeightBlockRows">Output channels that share a scale, where scales are per block.</param>
/// <param name="WeightBlockColumns">Input channels that share a scale, where scales are per block.</param>
/// <param name="Format">Of our own codes: <c>int8</c> or <c>int4</c>.</param>
public sealed record QuantizationConfig(string QuantMethod, int WeightBlockRows = 128, int WeightBlockColumns = 128, string? Format = null)
{
    /// <summary>The method's name of checkpoints that were quantized here.</summary>
    public const string OurMethod = "prefixtorch";

    /// <summary>Counts changes of how our codes are laid; what was laid otherwise is refused, or made anew where it was made on loading.</summary>
    public const int OurVersion = 3;

    /// <summary>Whether the codes are ours: int8 or int4, as <see cref="Format"/> says.</summary>
    public bool IsOurs => QuantMethod == OurMethod;
}

namespace PrefixTorch.Kernels;

/// <summary>
/// How int4 weights lie in memory: groups of 32 along a row, each with a scale and a minimum, so that a weight is
/// <c>code × scale + minimum</c>.
/// </summary>
/// <remarks>
/// Codes <c>[N, K / 2]</c>: 16 bytes a group, the lower four bits of byte <c>i</c> are weight <c>i</c> of the group and the upper ones weight
/// <c>i + 16</c>. Scales and minima <c>[N, K / 32, 2]</c> bf16, side by side: 5 bits a weight in all.
/// </remarks>
internal static class Int4Format
{
    /// <summary>Weights that share a scale.</summary>
    public const int Group = 32;

    /// <summary>Bytes of a group's codes.</summary>
    public const int GroupBytes = Group / 2;

    /// <summary>Numbers beside a group's codes: scale and minimum.</summary>
    public const int NumbersPerGroup = 2;
}

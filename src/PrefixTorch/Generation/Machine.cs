using PrefixTorch.Kernels;

namespace PrefixTorch.Generation;

/// <summary>What this machine computes with.</summary>
public static class Machine
{
    /// <summary>A line for people: which vectors the kernels use, whether bf16 is multiplied, how many processors.</summary>
    public static string Description => Cpu.Description;
}

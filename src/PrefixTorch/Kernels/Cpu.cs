using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using PrefixTorch.Kernels.Amx;

namespace PrefixTorch.Kernels;

/// <summary>The instruction sets that the kernels are written for.</summary>
internal enum Isa
{
    /// <summary>128-bit vectors, whatever the machine makes of them.</summary>
    Portable,

    /// <summary>256-bit vectors with fused multiply-add.</summary>
    Avx2,

    /// <summary>256-bit vectors, and products of bytes four at a time, as desktop processors have them that lack 512-bit vectors.</summary>
    AvxVnni,

    /// <summary>512-bit vectors.</summary>
    Avx512,

    /// <summary>512-bit vectors, and products of whole tiles of bf16 and of bytes.</summary>
    Amx,
}

/// <summary>What this processor has, found once: the one place that chooses a path by it.</summary>
internal static class Cpu
{
    /// <summary>Forces a path: <c>amx</c>, <c>avx512</c>, <c>avxvnni</c>, <c>avx2</c> or <c>portable</c>.</summary>
    public const string IsaVariable = "PREFIXTORCH_ISA";

    /// <summary>The paths that this machine can run, best first.</summary>
    public static IReadOnlyList<Isa> Available { get; } = FindAvailable();

    /// <summary>The path in use: the best there is, or the one that <c>PREFIXTORCH_ISA</c> names.</summary>
    public static Isa Isa { get; } = Choose(Environment.GetEnvironmentVariable(IsaVariable));

    /// <summary>
    /// Whether the processor multiplies bf16 (AVX-512 BF16), so that libtorch's bf16 products run at twice the fp32 rate. Where it does
    /// not, they are several times slower than fp32 and are never used.
    /// </summary>
    public static bool HasBFloat16Arithmetic { get; } = Isa >= Isa.Avx512 && FindBFloat16();

    /// <summary>Whether the processor multiplies bytes four at a time (AVX-512 VNNI).</summary>
    public static bool HasByteArithmetic { get; } = Isa >= Isa.Avx512 && FindBytes();

    /// <summary>A line for people: the path, and what else is multiplied.</summary>
    public static string Description =>
        $"{Isa.ToString().ToLowerInvariant()}{(HasBFloat16Arithmetic ? " with bf16 arithmetic" : "")}{(HasByteArithmetic ? $" {(HasBFloat16Arithmetic ? "and" : "with")} 8-bit dot products" : "")}, {Environment.ProcessorCount} processors";

    /// <summary>Reads the variable's value against what the machine has.</summary>
    /// <exception cref="PrefixTorchException">The value is no path, or one that this machine lacks.</exception>
    internal static Isa Choose(string? forced)
    {
        if (string.IsNullOrEmpty(forced))
        {
            return Available[0];
        }

        if (!Enum.TryParse(forced, ignoreCase: true, out Isa isa) || !Enum.IsDefined(isa))
        {
            throw new PrefixTorchException($"{IsaVariable}={forced} is not one of amx, avx512, avxvnni, avx2, portable.");
        }

        return Available.Contains(isa)
            ? isa
            : throw new PrefixTorchException($"{IsaVariable}={forced}, but this machine has {string.Join(", ", Available).ToLowerInvariant()}; unset the variable or name one of these.");
    }

    private static List<Isa> FindAvailable()
    {
        List<Isa> found = [];
        bool has512 = Vector512.IsHardwareAccelerated && Avx512F.IsSupported && Avx512BW.IsSupported;
        if (has512 && FindBFloat16() && FindBytes() && AmxState.IsAllowed)
        {
            found.Add(Isa.Amx);
        }

        if (has512)
        {
            found.Add(Isa.Avx512);
        }

        if (AvxVnni.IsSupported && Fma.IsSupported)
        {
            found.Add(Isa.AvxVnni);
        }

        if (Avx2.IsSupported && Fma.IsSupported)
        {
            found.Add(Isa.Avx2);
        }

        found.Add(Isa.Portable);
        return found;
    }

    private static bool FindBFloat16() =>
        X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= 7 && X86Base.CpuId(7, 0).Eax >= 1 && (X86Base.CpuId(7, 1).Eax & (1 << 5)) != 0;

    private static bool FindBytes() => X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= 7 && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;
}

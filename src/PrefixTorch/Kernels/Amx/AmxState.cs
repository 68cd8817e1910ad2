using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Whether this process may use AMX: eight registers of sixteen rows of 64 bytes, and instructions that multiply two of them into a third. The system
/// saves eight kilobytes for a thread that uses them, and wants to be asked first.
/// </summary>
internal static partial class AmxState
{
    // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), Linux since 5.16: asked once, for all of the process's threads.
    private const nint ArchPrctl = 158;
    private const nint RequestPermission = 0x1023;
    private const nint TileData = 18;

    private const int MultipliesBFloat16 = 1 << 22;
    private const int CountsInFloat16 = 1 << 23;
    private const int HasTiles = 1 << 24;
    private const int MultipliesInt8 = 1 << 25;
    private const int All = MultipliesBFloat16 | CountsInFloat16 | HasTiles | MultipliesInt8;

    /// <summary>Whether the processor has it, for bf16 and for bytes, and arithmetic in fp16, which all that have it do so far, and the system, which must be Linux, allows it.</summary>
    public static bool IsAllowed { get; } = Find();

    private static bool Find() =>
        OperatingSystem.IsLinux() && X86Base.X64.IsSupported && X86Base.CpuId(0, 0).Eax >= 7 && (X86Base.CpuId(7, 0).Edx & All) == All
        && SystemCall(ArchPrctl, RequestPermission, TileData) == 0;

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial nint SystemCall(nint number, nint first, nint second);
}

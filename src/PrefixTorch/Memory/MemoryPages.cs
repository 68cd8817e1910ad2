using System.Runtime.InteropServices;

namespace PrefixTorch.Memory;

/// <summary>Tells the system how pages will be used. Hints: without effect where the system has no such call.</summary>
internal static unsafe partial class MemoryPages
{
    /// <summary>What a huge page begins at, where there are any: one entry of the processor's table of pages then covers 2 MiB.</summary>
    public const int HugeByteCount = 2 << 20;

    // The numbers of Linux; the first is macOS's too.
    private const int WillNeed = 3;
    private const int DontNeed = 4;
    private const int HugePage = 14;

    /// <summary>
    /// Starts to read a range of a map that will be used soon, and returns at once. Where pages lie far apart this is many times faster than
    /// to wait for one after another, each with its neighbours.
    /// </summary>
    public static void Prefetch(byte* pointer, long byteCount)
    {
        if (OperatingSystem.IsLinux() || OperatingSystem.IsMacOS())
        {
            Advise(pointer, byteCount, WillNeed);
        }
    }

    /// <summary>Asks for huge pages, before anonymous memory is written for the first time.</summary>
    public static void WantHuge(byte* pointer, long byteCount)
    {
        if (OperatingSystem.IsLinux())
        {
            Advise(pointer, byteCount, HugePage);
        }
    }

    /// <summary>Takes a range of a map out of the process's memory, for now: what was copied need not be counted twice.</summary>
    public static void LetGo(byte* pointer, long byteCount)
    {
        if (OperatingSystem.IsLinux())
        {
            Advise(pointer, byteCount, DontNeed);
        }
    }

    // A kernel without the advice refuses it, and nothing is lost.
    private static void Advise(byte* pointer, long byteCount, int advice)
    {
        if (byteCount > 0)
        {
            nint start = (nint)pointer & ~(nint)(Environment.SystemPageSize - 1);
            _ = Advise((byte*)start, (nuint)(pointer + byteCount - (byte*)start), advice);
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(byte* start, nuint byteCount, int advice);
}

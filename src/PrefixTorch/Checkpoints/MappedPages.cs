using System.Runtime.InteropServices;

namespace PrefixTorch.Checkpoints;

/// <summary>Asks the system to read pages of a map ahead of their use.</summary>
internal static unsafe partial class MappedPages
{
    // The same number on Linux and macOS.
    private const int WillNeed = 3;

    /// <summary>
    /// Starts to read a range that will be used soon, and returns at once. Where pages lie far apart this is many times faster than
    /// to wait for one after another, each with its neighbours. A hint: without effect where the system has no such call.
    /// </summary>
    public static void Prefetch(byte* pointer, long byteCount)
    {
        if (byteCount > 0 && (OperatingSystem.IsLinux() || OperatingSystem.IsMacOS()))
        {
            nint start = (nint)pointer & ~(nint)(Environment.SystemPageSize - 1);
            _ = Advise((byte*)start, (nuint)(pointer + byteCount - (byte*)start), WillNeed);
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(byte* start, nuint byteCount, int advice);
}

using System.Runtime.InteropServices;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>Machine code made at run time, in memory that may be executed and no longer written. It stays as long as the process: kernels are few and small.</summary>
internal static unsafe partial class ExecutableMemory
{
    private const int Readable = 1;
    private const int Writable = 2;
    private const int Executable = 4;
    private const int PrivateAnonymous = 0x22;
    private const int PrivateAnonymousDarwin = 0x1002;
    private const uint CommitAndReserve = 0x3000;
    private const uint WindowsReadWrite = 0x04;
    private const uint WindowsExecuteRead = 0x20;

    /// <summary>Copies <paramref name="code"/> and makes it executable.</summary>
    /// <returns>Its first instruction, or null where the system allows no such memory.</returns>
    public static void* Place(ReadOnlySpan<byte> code)
    {
        var length = (nuint)code.Length;
        if (OperatingSystem.IsWindows())
        {
            void* reserved = VirtualAlloc(null, length, CommitAndReserve, WindowsReadWrite);
            if (reserved is null)
            {
                return null;
            }

            code.CopyTo(new Span<byte>(reserved, code.Length));
            return VirtualProtect(reserved, length, WindowsExecuteRead, out _) != 0 ? reserved : null;
        }

        void* mapped = MMap(null, length, Readable | Writable, OperatingSystem.IsMacOS() ? PrivateAnonymousDarwin : PrivateAnonymous, -1, 0);
        if ((nint)mapped == -1)
        {
            return null;
        }

        code.CopyTo(new Span<byte>(mapped, code.Length));
        return MProtect(mapped, length, Readable | Executable) == 0 ? mapped : null;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial void* MMap(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int MProtect(void* address, nuint length, int protection);

    [LibraryImport("kernel32")]
    private static partial void* VirtualAlloc(void* address, nuint size, uint type, uint protection);

    [LibraryImport("kernel32")]
    private static partial int VirtualProtect(void* address, nuint size, uint protection, out uint old);
}

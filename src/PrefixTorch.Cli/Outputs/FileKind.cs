using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace PrefixTorch.Cli.Outputs;

/// <summary>Whether a path is a file like others, or a device, pipe or socket, which .NET does not tell apart.</summary>
internal static class FileKind
{
    // Linux's statx, whose struct is the same on every processor: the mode stands at byte 28, and its upper four bits are the kind.
    private const int RelativeToCurrentFolder = -100;
    private const uint KindOnly = 1;
    private const int ModeAt = 28;
    private const int KindBits = 0xf000;
    private const int Regular = 0x8000;

    /// <summary>Whether there is a regular file, or nothing. Elsewhere than on Linux everything passes.</summary>
    public static bool IsRegularOrMissing(string path)
    {
        byte[] status = new byte[256];
        try
        {
            return !OperatingSystem.IsLinux() || Statx(RelativeToCurrentFolder, path, 0, KindOnly, status) != 0 || (BinaryPrimitives.ReadUInt16LittleEndian(status.AsSpan(ModeAt)) & KindBits) == Regular;
        }
        catch (EntryPointNotFoundException)
        {
            // A C library older than the call.
            return true;
        }
    }

    [DllImport("libc", EntryPoint = "statx")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Statx(int folder, [MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, uint mask, byte[] status);
}

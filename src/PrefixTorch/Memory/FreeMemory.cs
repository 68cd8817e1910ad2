using System.Globalization;

namespace PrefixTorch.Memory;

/// <summary>How much memory this process could still take without the system having to write any to disk or to end somebody.</summary>
internal static class FreeMemory
{
    private const string MemInfo = "/proc/meminfo";
    private const string Available = "MemAvailable:";

    /// <summary>Bytes: the least of what the machine has free and what a limit on this process (a container's) leaves.</summary>
    public static long Measure()
    {
        // The limit counts what this process holds already; maps of files it does not, they give way.
        long limit = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, left = Math.Max(0, limit - NativeBlock.LiveBytes - GC.GetTotalMemory(false));
        return File.Exists(MemInfo) && ReadAvailable(File.ReadLines(MemInfo)) is long available ? Math.Min(left, available) : left;
    }

    /// <summary>Reads the line that counts, in bytes; null where there is none.</summary>
    internal static long? ReadAvailable(IEnumerable<string> lines) =>
        lines.FirstOrDefault(line => line.StartsWith(Available, StringComparison.Ordinal)) is string line
            && long.TryParse(line[Available.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long kilobytes)
            ? kilobytes * 1024
            : null;
}

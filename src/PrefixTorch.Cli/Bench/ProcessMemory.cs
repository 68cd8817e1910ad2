using System.Diagnostics;
using System.Globalization;

namespace PrefixTorch.Cli.Bench;

/// <summary>What the process takes of memory.</summary>
/// <param name="PeakResident">The most that was in memory at once, maps of files included.</param>
/// <param name="Anonymous">What is in memory now and no file's; null where the system does not say.</param>
internal sealed record ProcessMemory(long PeakResident, long? Anonymous)
{
    private const string Status = "/proc/self/status";

    public static ProcessMemory Read()
    {
        if (!File.Exists(Status))
        {
            using var process = Process.GetCurrentProcess();
            return new ProcessMemory(process.PeakWorkingSet64, null);
        }

        string[] lines = File.ReadAllLines(Status);
        return new ProcessMemory(Kilobytes(lines, "VmHWM:") ?? Environment.WorkingSet, Kilobytes(lines, "RssAnon:"));
    }

    private static long? Kilobytes(string[] lines, string name) =>
        Array.Find(lines, line => line.StartsWith(name, StringComparison.Ordinal)) is string line
            && long.TryParse(line[name.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long number)
            ? number * 1024
            : null;
}

using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Bench;

/// <summary>How fast a state is saved, restored, cloned and cut.</summary>
/// <remarks>
/// Warm: the file is in the page cache, the code compiled. So short times need more repetitions than those of the model. What the first call of the process took is told as well.
/// Saving replaces the file, restoring maps it, checks it and lets it go.
/// </remarks>
internal sealed class StateBench(Llama llama, int repetitions)
{
    private const int ShortRepetitions = 200;
    private const int FileRepetitions = 21;
    private const int WarmUps = 5;

    /// <summary>A state of so many tokens.</summary>
    public async Task<IReadOnlyList<BenchLine>> RunAsync(int tokens, string folder, CancellationToken cancellation)
    {
        using KvCache cache = await llama.PrefillAsync(new Work(llama).RandomIds(tokens), cancellationToken: cancellation).ConfigureAwait(false);
        string path = Path.Combine(folder, "state.safetensors");
        var quick = new KvSaveOptions { FlushToDisk = false };
        (double firstSave, Measured save) = Warm(() => cache.Save(path, quick));
        Measured flushed = Measured.Seconds(repetitions, () => cache.Save(path));
        long bytes = new FileInfo(path).Length;
        (double firstRestore, Measured restore) = Warm(() => KvCache.Load(path, llama).Dispose());
        (_, Measured trusted) = Warm(() => KvCache.Load(path, llama, new KvLoadOptions { Trust = true }).Dispose());
        return
        [
            new BenchLine("state_save", $"save {tokens}") { Result = Milliseconds(save.Median), Share = $"{Rate(bytes, save)} GB/s, {Rate(bytes, flushed)} with a flush to the disk; {Milliseconds(firstSave)} the first time" }
                .With("n", tokens).With("bytes", bytes).With("median_s", save.Median).With("GBps", bytes / save.Median / 1e9).With("first_s", firstSave).With("with_fsync_median_s", flushed.Median),
            new BenchLine("state_restore", $"restore {tokens}") { Result = Milliseconds(restore.Median), Share = $"{Rate(bytes, restore)} GB/s checked; trusted in {Milliseconds(trusted.Median)}, {Milliseconds(firstRestore)} the first time" }
                .With("n", tokens).With("bytes", bytes).With("median_s", restore.Median).With("GBps", bytes / restore.Median / 1e9).With("first_s", firstRestore).With("trusted_median_s", trusted.Median),
            Short("clone", cache, () => cache.Clone().Dispose(), tokens),
            Short("truncate", cache, () =>
            {
                using KvCache cut = cache.Clone();
                cut.Truncate(tokens - 1);
            }, tokens),
        ];
    }

    private (double First, Measured Warm) Warm(Action action)
    {
        double first = Measured.Seconds(1, action).Median;
        Measured.Seconds(WarmUps, action);
        return (first, Measured.Seconds(Math.Max(repetitions, FileRepetitions), action));
    }

    // Includes the disposal, and for truncate the clone that is cut.
    private static BenchLine Short(string name, KvCache cache, Action action, int tokens)
    {
        Measured.Seconds(ShortRepetitions, action);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Measured seconds = Measured.Seconds(ShortRepetitions, action);
        long bytes = (GC.GetAllocatedBytesForCurrentThread() - before) / ShortRepetitions;
        return new BenchLine(name, $"{name} {tokens}") { Result = $"{seconds.Median * 1e6:F1} µs", Share = $"{bytes:N0} bytes, whatever the {cache.ByteCount / 1e6:F1} MB" }
            .With("n", tokens).With("median_s", seconds.Median).With("bytes", bytes);
    }

    private static string Milliseconds(double seconds) => $"{seconds * 1e3:F2} ms";

    private static string Rate(long bytes, Measured seconds) => (bytes / seconds.Median / 1e9).ToString("F2", CultureInfo.InvariantCulture);
}

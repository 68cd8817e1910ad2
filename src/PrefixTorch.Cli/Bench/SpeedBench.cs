using System.Diagnostics;
using PrefixTorch.Caching;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Bench;

/// <summary>How fast a model reads, decodes, answers behind a prefix, and branches.</summary>
/// <param name="llama">The model.</param>
/// <param name="repetitions">Of each.</param>
internal sealed class SpeedBench(Llama llama, int repetitions)
{
    private readonly Work _work = new(llama);
    private readonly GenerationOptions _greedy = new() { Greedy = true, IgnoreEos = true };

    /// <summary>Compiles what will be measured, and wakes the threads.</summary>
    public async Task WarmUpAsync(CancellationToken cancellation)
    {
        using Continuation warm = await llama.ContinueAsync(null, _work.RandomIds(64), _greedy with { MaxNewTokens = 8 }, cancellationToken: cancellation).ConfigureAwait(false);
        using Continuation again = await llama.ContinueAsync(warm.Cache, _work.RandomIds(8), _greedy with { MaxNewTokens = 8 }, cancellationToken: cancellation).ConfigureAwait(false);
    }

    /// <summary>Reads a prompt of so many tokens from nothing.</summary>
    public async Task<BenchLine> PrefillAsync(int tokens, CancellationToken cancellation)
    {
        double peak = Machine.MeasurePeakFlops(llama.Options.Threads);
        Measured seconds = await Measured.RepeatAsync(repetitions, () => ReadAsync(_work.RandomIds(tokens), cancellation)).ConfigureAwait(false);
        peak = Math.Max(peak, Machine.MeasurePeakFlops(llama.Options.Threads));
        double flops = _work.PrefillFlops(tokens) / seconds.Median;
        return new BenchLine("prefill", $"prefill {tokens}") { Result = $"{tokens / seconds.Median:F1} tokens/s", Share = $"{flops / 1e9:F0} GFLOP/s, {flops / peak:P0} of the fp32 peak" }
            .With("n", tokens).With("median_s", seconds.Median).With("median_tps", tokens / seconds.Median).With("min_tps", tokens / seconds.Most).With("max_tps", tokens / seconds.Least)
            .With("gflops", flops / 1e9).With("peak_fp32_gflops", peak / 1e9).With("frac_of_peak", flops / peak);
    }

    /// <summary>Decodes behind a context of so many tokens.</summary>
    public async Task<BenchLine> DecodeAsync(int context, int tokens, CancellationToken cancellation)
    {
        using KvCache prefix = await llama.PrefillAsync(_work.RandomIds(context), cancellationToken: cancellation).ConfigureAwait(false);
        double before = _work.ReadBandwidth();
        Measured rate = await Measured.RepeatAsync(repetitions, async () =>
        {
            using Continuation decoded = await llama.ContinueAsync(prefix, "", _greedy with { MaxNewTokens = tokens }, cancellationToken: cancellation).ConfigureAwait(false);
            return decoded.Report.Timings.TokensPerSecond;
        }).ConfigureAwait(false);
        double read = (before + _work.ReadBandwidth()) / 2;
        double weights = llama.WeightBytesPerToken * rate.Median, all = _work.DecodeBytes(context + (tokens / 2.0)) * rate.Median;
        return new BenchLine("decode", $"decode at {context}") { Result = $"{rate.Median:F1} tokens/s", Share = $"weights {weights / 1e9:F1} GB/s, {weights / read:P0} of a plain read; with keys and values {all / read:P0}" }
            .With("ctx", context).With("tokens", tokens).With("median_tps", rate.Median).With("min_tps", rate.Least).With("max_tps", rate.Most)
            .With("weights_GBps", weights / 1e9).With("membw_GBps", read / 1e9).With("frac_of_membw", weights / read).With("total_GBps", all / 1e9).With("total_frac_of_membw", all / read);
    }

    /// <summary>A first token behind a prefix that is read again, held in memory, or restored from a file.</summary>
    public async Task<BenchLine> FirstTokenAsync(int prefixTokens, int suffixTokens, string folder, CancellationToken cancellation)
    {
        int[] prefixIds = _work.RandomIds(prefixTokens), suffix = _work.RandomIds(suffixTokens);
        Measured reprocess = await Measured.RepeatAsync(repetitions, () => FirstAsync(null, [.. prefixIds, .. suffix], cancellation)).ConfigureAwait(false);
        using KvCache prefix = await llama.PrefillAsync(prefixIds, cancellationToken: cancellation).ConfigureAwait(false);
        Measured memory = await Measured.RepeatAsync(repetitions, () => FirstAsync(prefix, suffix, cancellation)).ConfigureAwait(false);
        string path = Path.Combine(folder, "ttft.safetensors");
        prefix.Save(path);
        Measured file = await Measured.RepeatAsync(repetitions, async () =>
        {
            long start = Stopwatch.GetTimestamp();
            using var restored = KvCache.Load(path, llama);
            await FirstAsync(restored, suffix, cancellation).ConfigureAwait(false);
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }).ConfigureAwait(false);
        return new BenchLine("ttft", $"first token, {prefixTokens} + {suffixTokens}")
        {
            Result = $"{memory.Median * 1e3:F1} ms from memory, {file.Median * 1e3:F1} ms from a file",
            Share = $"{reprocess.Median / memory.Median:F1} × and {reprocess.Median / file.Median:F1} × faster than reading again ({reprocess.Median:F2} s)",
        }
            .With("prefix", prefixTokens).With("suffix", suffixTokens).With("reprocess_s", reprocess.Median).With("memory_prefix_s", memory.Median).With("file_prefix_s", file.Median)
            .With("speedup_memory", reprocess.Median / memory.Median).With("speedup_file", reprocess.Median / file.Median);
    }

    /// <summary>Branches side by side over one prefix, and the same one after another.</summary>
    public async Task<BenchLine> BranchesAsync(int branches, int prefixTokens, int tokens, CancellationToken cancellation)
    {
        using KvCache prefix = await llama.PrefillAsync(_work.RandomIds(prefixTokens), cancellationToken: cancellation).ConfigureAwait(false);

        // Greedy: the same tokens in each branch cost what different ones do, and random weights would make a cut by probability, over an
        // almost flat row of scores, a large part of the figure.
        var greedy = new GenerationOptions { Greedy = true, IgnoreEos = true, MaxNewTokens = tokens };
        long tails = 0;
        Measured together = await Measured.RepeatAsync(repetitions, async () =>
        {
            long start = Stopwatch.GetTimestamp();
            Continuation[] results = await llama.GenerateBranchesAsync(prefix, [""], greedy with { NumReturnSequences = branches }, cancellationToken: cancellation).ConfigureAwait(false);
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            tails = results.Sum(result => result.Cache.OwnBytes);
            Array.ForEach(results, result => result.Dispose());
            return seconds;
        }).ConfigureAwait(false);
        Measured apart = await Measured.RepeatAsync(repetitions, async () =>
        {
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < branches; i++)
            {
                using Continuation one = await llama.ContinueAsync(prefix, "", greedy with { Branch = i }, cancellationToken: cancellation).ConfigureAwait(false);
            }

            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }).ConfigureAwait(false);
        double all = (double)branches * tokens, speedup = apart.Median / together.Median;
        return new BenchLine("branches", $"{branches} branches over {prefixTokens}")
        {
            Result = $"{all / together.Median:F1} tokens/s",
            Share = $"{speedup:F1} × one after another; {prefix.ByteCount / 1e6:F1} MB of prefix, {tails / 1e6:F1} MB of tails",
        }
            .With("branches", branches).With("prefix", prefixTokens).With("tokens", tokens).With("median_tps", all / together.Median).With("min_tps", all / together.Most).With("max_tps", all / together.Least)
            .With("sequential_tps", all / apart.Median).With("speedup", speedup).With("prefix_bytes", prefix.ByteCount).With("tail_bytes", tails);
    }

    private async Task<double> ReadAsync(int[] ids, CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        using KvCache read = await llama.PrefillAsync(ids, cancellationToken: cancellation).ConfigureAwait(false);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private async Task<double> FirstAsync(KvCache? prefix, int[] ids, CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        using Continuation first = await llama.ContinueAsync(prefix, ids, _greedy with { MaxNewTokens = 1 }, cancellationToken: cancellation).ConfigureAwait(false);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}

using System.Diagnostics;
using PrefixTorch.Cli.Bench;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Speed and memory, each beside what the machine gave in the same run.</summary>
internal sealed class BenchVerb : Verb
{
    private readonly BenchOptions _bench = new();
    private readonly LoadOptions _load = new();

    public BenchVerb(Streams streams)
        : base(streams, "bench", "Speed and memory: prefill, decode, first token, states, branches; each beside what this machine could do. With --json a line for each.", "--model weights/Llama-3.2-1B", "--pp 512 --tgat 16,2048 --save none --prefix 0 --reps 5", "--dtype int8 --json > bench.jsonl")
    {
        Use(_bench, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        int[] prefill = BenchOptions.Lengths(call, _bench.Prefill, "128,512,2048"), decodeAt = BenchOptions.Lengths(call, _bench.DecodeAt, "16,512,2048"), save = BenchOptions.Lengths(call, _bench.Save, "512,2048");
        (int decode, int prefix, int suffix, int repetitions) = (call.Get(_bench.Decode) ?? 48, call.Get(_bench.Prefix) ?? 2048, call.Get(_bench.Suffix) ?? 16, call.Get(_bench.Repetitions) ?? 3);
        (int branches, int branchTokens) = (call.Get(_bench.Branches) ?? 16, call.Get(_bench.BranchTokens) ?? 32);
        var lines = new BenchOutput(call.Output);
        string folder = Directory.CreateTempSubdirectory("prefixtorch-bench-").FullName;
        try
        {
            long start = Stopwatch.GetTimestamp();
            using Llama llama = await _load.LoadAsync(call, cancellation).ConfigureAwait(false);
            double loaded = Stopwatch.GetElapsedTime(start).TotalSeconds;
            using (await llama.ContinueAsync(null, [1], new GenerationOptions { Greedy = true, MaxNewTokens = 1 }, cancellationToken: cancellation).ConfigureAwait(false))
            {
                lines.Add(Load(llama, loaded, Stopwatch.GetElapsedTime(start).TotalSeconds));
            }

            lines.Add(MachineLine(llama));
            var speed = new SpeedBench(llama, repetitions);
            await speed.WarmUpAsync(cancellation).ConfigureAwait(false);
            foreach (int tokens in prefill)
            {
                lines.Add(await speed.PrefillAsync(tokens, cancellation).ConfigureAwait(false));
            }

            foreach (int context in decodeAt)
            {
                lines.Add(await speed.DecodeAsync(context, decode, cancellation).ConfigureAwait(false));
            }

            if (prefix > 0)
            {
                lines.Add(await speed.FirstTokenAsync(prefix, suffix, folder, cancellation).ConfigureAwait(false));
            }

            var states = new StateBench(llama, repetitions);
            foreach (int tokens in save)
            {
                lines.AddRange(await states.RunAsync(tokens, folder, cancellation).ConfigureAwait(false));
            }

            if (prefix > 0 && branches > 0)
            {
                lines.Add(await speed.BranchesAsync(branches, prefix, branchTokens, cancellation).ConfigureAwait(false));
            }

            var memory = ProcessMemory.Read();
            lines.Add(new BenchLine("memory", "memory at the end") { Result = $"{memory.PeakResident / 1e6:N0} MB at most", Share = Anonymous(memory) }.With("peak_rss", memory.PeakResident).With("anon", memory.Anonymous));
            return ExitCode.Done;
        }
        finally
        {
            lines.End();
            Directory.Delete(folder, recursive: true);
        }
    }

    private static BenchLine Load(Llama llama, double loaded, double first)
    {
        var memory = ProcessMemory.Read();
        using var process = Process.GetCurrentProcess();
        double sinceStart = (DateTime.Now - process.StartTime).TotalSeconds;
        return new BenchLine("load", $"load {llama.Name}, {(llama.Options.Load == LoadMode.Copy ? "copied" : "mapped")}") { Result = $"{first:F2} s to the first token, {sinceStart:F2} s from the start of the process", Share = $"{memory.PeakResident / 1e6:N0} MB at most, {Anonymous(memory)}" }
            .With("model", llama.Name).With("load", llama.Options.Load.ToString().ToLowerInvariant()).With("weight_bytes", llama.WeightBytes).With("model_load_s", loaded).With("total_to_first_token_s", first).With("since_process_start_s", sinceStart)
            .With("peak_rss", memory.PeakResident).With("anon", memory.Anonymous);
    }

    private static BenchLine MachineLine(Llama llama)
    {
        double read = new Work(llama).ReadBandwidth(), peak = Machine.MeasurePeakFlops(llama.Options.Threads);
        return new BenchLine("machine", "this machine") { Result = $"{llama.Options.Threads} threads, {llama.Arithmetic}", Share = $"a plain read {read / 1e9:F1} GB/s, fp32 peak {peak / 1e9:F0} GFLOP/s" }
            .With("description", Machine.Description).With("arithmetic", llama.Arithmetic).With("threads", llama.Options.Threads).With("membw_GBps", read / 1e9).With("peak_fp32_gflops", peak / 1e9);
    }

    private static string Anonymous(ProcessMemory memory) => memory.Anonymous is long bytes ? $"{bytes / 1e6:N0} MB of it no file's" : "";
}

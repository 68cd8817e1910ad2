using System.Text.Json;
using PrefixTorch.Generation;

namespace PrefixTorch.Tests.Cli;

public class BenchVerbTests
{
    private static readonly string[] s_small = ["--pp", "32,64", "--tgat", "16", "--tg", "4", "--save", "48", "--prefix", "128", "--suffix", "4", "--branches", "4", "--branch-tokens", "4", "--reps", "2"];

    [Fact]
    public async Task EveryLineIsThereWithItsFields()
    {
        CliRun run = await CliRun.Of(["bench", "--json", .. s_small]);
        Assert.Equal(0, run.ExitCode);
        JsonElement[] lines = [.. run.Out.TrimEnd().Split(Environment.NewLine).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(
            ["load", "machine", "prefill", "prefill", "decode", "ttft", "state_save", "state_restore", "clone", "truncate", "branches", "memory"],
            lines.Select(line => line.GetProperty("bench").GetString()));
        AssertFields(lines[0], "total_to_first_token_s", "peak_rss", "anon");
        AssertFields(lines[2], "n", "median_tps", "min_tps", "max_tps", "gflops", "frac_of_peak");
        AssertFields(lines[4], "ctx", "median_tps", "weights_GBps", "frac_of_membw");
        AssertFields(lines[5], "prefix", "suffix", "reprocess_s", "memory_prefix_s", "file_prefix_s", "speedup_memory");
        AssertFields(lines[6], "n", "bytes", "median_s");
        AssertFields(lines[7], "n", "bytes", "median_s");
        AssertFields(lines[8], "n", "bytes", "median_s");
        AssertFields(lines[9], "n", "bytes", "median_s");
        AssertFields(lines[10], "branches", "prefix", "median_tps", "speedup");
        Assert.Equal([32, 64], lines[2..4].Select(line => line.GetProperty("n").GetInt32()));

        // A plain read is what nothing is faster than, and a weight is read once for a token.
        JsonElement decode = lines[4];
        Assert.Equal(decode.GetProperty("weights_GBps").GetDouble() / decode.GetProperty("membw_GBps").GetDouble(), decode.GetProperty("frac_of_membw").GetDouble(), 1e-3);
        using Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(llama.WeightBytesPerToken * decode.GetProperty("median_tps").GetDouble() / 1e9, decode.GetProperty("weights_GBps").GetDouble(), 1e-2);
        Assert.Equal(llama.WeightBytes - (2L * llama.Config.VocabSize * llama.Config.HiddenSize), llama.WeightBytesPerToken);
    }

    [Fact]
    public async Task PeopleGetATable()
    {
        CliRun run = await CliRun.Of("bench", "--pp", "16", "--tgat", "none", "--save", "none", "--prefix", "0", "--reps", "1");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(["load tiny-tolstoy, mapped", "this machine", "prefill 16", "memory at the end"], run.Out.TrimEnd().Split(Environment.NewLine).Select(line => line.Split('\t')[0]));
        Assert.Contains("GFLOP/s", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ACopyIsNamedAndReadLikeWhatItIs()
    {
        CliRun run = await CliRun.Of("bench", "--load", "copy", "--pp", "none", "--tgat", "16", "--tg", "4", "--save", "none", "--prefix", "0", "--reps", "1", "--json");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal("copy", JsonDocument.Parse(run.Out.Split(Environment.NewLine)[0]).RootElement.GetProperty("load").GetString());
        (await CliRun.Of("bench", "--load", "mmap")).AssertFailed(2, "--load is mmap", "auto, map, copy");
    }

    [Fact]
    public async Task WrongCommandLinesAreNamed()
    {
        (await CliRun.Of("bench", "--pp", "12,x")).AssertFailed(2, "--pp is 12,x", "none");
        (await CliRun.Of("bench", "--tg", "1")).AssertFailed(2, "--tg is 1; it must be a whole number from 2");
    }

    [Fact]
    public void TheMachineIsMeasuredInBounds()
    {
        // Slower than a bus of the nineties, or faster than any machine there is, would be a mistake in counting.
        Assert.InRange(Machine.MeasureReadBandwidth(bytes: 64 << 20), 1e8, 1e14);
        Assert.InRange(Machine.MeasurePeakFlops(threads: 1), 1e8, 1e13);
        Assert.InRange(Machine.MeasurePeakFlops(threads: 2) / Machine.MeasurePeakFlops(threads: 1), 0.2, 8);
    }

    private static void AssertFields(JsonElement line, params string[] names) => Assert.All(names, name => Assert.True(line.GetProperty(name).GetDouble() > 0, $"{line.GetProperty("bench")}: {name}"));
}

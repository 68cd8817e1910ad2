using System.Text.Json;
using PrefixTorch.Cli;

namespace PrefixTorch.Tests.Cli;

public class BranchVerbTests
{
    private static readonly string[] s_exact = ["--dtype", "float32", "--kv-dtype", "float32"];

    private static readonly JsonElement s_golden = JsonDocument.Parse(File.ReadAllBytes(Repository.Fixture("goldens", "trained", "golden.json"))).RootElement;

    private static string Prefix => s_golden.GetProperty("prefix").GetString()!;

    [Fact]
    public async Task BranchesOfAStateAreWhatHuggingFaceGeneratesForEach()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "state.safetensors");
        await CliRun.Of(["prefill", "--prompt", Prefix, "--save", state, .. s_exact]);
        JsonElement[] goldens = [.. s_golden.GetProperty("runs").EnumerateArray()];
        CliRun run = await CliRun.Of(["branch", "--state", state, "--greedy", "--max-new-tokens", "48", "--json", .. s_exact, .. goldens.Select(golden => $"--suffix={golden.GetProperty("suffix").GetString()}")]);
        Assert.Equal(0, run.ExitCode);
        Assert.Equal("tiny-tolstoy", run.Json.GetProperty("model").GetString());
        JsonElement[] sequences = Sequences(run);
        Assert.Equal(goldens.Length, sequences.Length);
        foreach ((JsonElement golden, JsonElement sequence) in goldens.Zip(sequences))
        {
            Assert.Equal(golden.GetProperty("suffix").GetString(), sequence.GetProperty("suffix").GetString());
            Assert.Equal(Ids(golden, "prompt_ids"), Ids(sequence, "prompt_ids"));
            Assert.Equal(Ids(golden, "greedy_ids"), Ids(sequence, "ids"));
            Assert.InRange(Used(sequence, "reused_tokens"), 17, 18);
        }
    }

    [Fact]
    public async Task ThePromptIsReadOnceAndEachSuffixOnceForAllItsSamples()
    {
        string[] line = ["branch", "--prompt", Prefix, "-s", " He thought of", "-s", " The soldiers", "-n", "2", "--temperature", "0.9", "--seed", "5", "--max-new-tokens", "8", "--json", .. s_exact];
        CliRun run = await CliRun.Of(line);
        JsonElement[] sequences = Sequences(run);
        Assert.Equal([" He thought of", " He thought of", " The soldiers", " The soldiers"], sequences.Select(sequence => sequence.GetProperty("suffix").GetString()));
        Assert.Equal([0, 1, 2, 3], sequences.Select(sequence => sequence.GetProperty("index").GetInt32()));
        Assert.Equal(4, sequences.Select(sequence => sequence.GetProperty("text").GetString()).Distinct().Count());
        int first = Ids(sequences[0], "prompt_ids").Length, second = Ids(sequences[2], "prompt_ids").Length;
        Assert.Equal([first, 0, second - 18, 0], sequences.Select(sequence => Used(sequence, "computed_tokens")));
        Assert.Equal([0, first, 18, second], sequences.Select(sequence => Used(sequence, "reused_tokens")));
        Assert.Equal(sequences.Select(sequence => sequence.GetProperty("text").GetString()), Sequences(await CliRun.Of(line)).Select(sequence => sequence.GetProperty("text").GetString()));
    }

    [Theory]
    [InlineData("answers", "answers/branch-{0}.safetensors")]
    [InlineData("a/answer {}.safetensors", "a/answer {0}.safetensors")]
    public async Task EachResultIsKeptAndCanBeContinued(string save, string file)
    {
        using var folder = new TemporaryFolder();
        CliRun run = await CliRun.Of(["branch", "--prompt", Prefix, "-s", " He", "-s", "", "--greedy", "--max-new-tokens", "5", "--save", Path.Combine(folder.Path, save), "--json", .. s_exact]);
        Assert.Equal(0, run.ExitCode);
        foreach (JsonElement sequence in Sequences(run))
        {
            string state = Path.Combine(folder.Path, file.Replace("{0}", $"{sequence.GetProperty("index").GetInt32()}", StringComparison.Ordinal));
            CliRun more = await CliRun.Of(["continue", "--state", state, "--greedy", "--max-new-tokens", "1", "--json", .. s_exact]);
            Assert.Equal([.. Ids(sequence, "prompt_ids"), .. Ids(sequence, "ids")], Ids(Sequences(more)[0], "prompt_ids"));
        }
    }

    [Fact]
    public async Task TextsStandUnderTheirHeadings()
    {
        string[] line = ["branch", "--prompt", Prefix, "-s", " He", "-s", " It", "--greedy", "--max-new-tokens", "6", .. s_exact];
        JsonElement[] sequences = Sequences(await CliRun.Of([.. line, "--json"]));
        CliRun piped = await CliRun.Of(line);
        Assert.Equal(string.Concat(sequences.Select((sequence, i) => $"--- {i + 1}. {sequence.GetProperty("suffix").GetString()}{Environment.NewLine}{sequence.GetProperty("text").GetString()}{Environment.NewLine}")), piped.Out);

        using var output = new StringWriter();
        using var streams = new Streams(TextReader.Null, output, TextWriter.Null, OutIsTerminal: true);
        Assert.Equal(0, await CommandLine.RunAsync(line, streams, TestContext.Current.CancellationToken));
        string shown = output.ToString();
        Assert.All(sequences, sequence => Assert.Contains(sequence.GetProperty("text").GetString() + Environment.NewLine, shown, StringComparison.Ordinal));
        Assert.Contains("1.  He ─", shown, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TheOnlyBranchStreamsAsTextAlone()
    {
        CliRun run = await CliRun.Of(["branch", "--prompt", Prefix, "--greedy", "--max-new-tokens", "48", .. s_exact]);
        Assert.Equal(s_golden.GetProperty("runs")[4].GetProperty("text").GetString(), run.Out);
    }

    [Fact]
    public async Task InterruptedEachBranchKeepsWhatItHas()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "state.safetensors");
        await CliRun.Of("prefill", "--prompt", Prefix, "--save", state);
        using var cancellation = new CancellationTokenSource();
        using var output = new StringWriter();
        await using var error = new InterruptingWriter("loaded in", () => cancellation.CancelAfter(TimeSpan.FromMilliseconds(200)));
        int code = await CommandLine.RunAsync(["branch", "--state", state, "-s", " He", "-s", " It", "--ignore-eos", "--max-new-tokens", "3900", "--save", folder.Path, "--json", "-v"], TextReader.Null, output, error, cancellation.Token);
        Assert.Equal(130, code);
        Assert.All(JsonDocument.Parse(output.ToString()).RootElement.GetProperty("sequences").EnumerateArray(), sequence => Assert.Equal("cancelled", sequence.GetProperty("finish_reason").GetString()));
        Assert.Equal(2, Directory.GetFiles(folder.Path, "branch-*.safetensors").Length);
    }

    [Fact]
    public async Task WrongCommandLinesAreNamed()
    {
        (await CliRun.Of("branch", "--suffix", "x")).AssertFailed(2, "nothing to branch from", "--state", "--prompt");
        (await CliRun.Of("branch", "--state", "s", "--prompt", "x")).AssertFailed(2, "--state and --prompt");
        (await CliRun.Of("branch", "--state", "s", "-n", "3", "--save", "one.safetensors")).AssertFailed(2, "--save is one.safetensors", "3 results", "{}");
        (await CliRun.Of("branch", "--state", "none.safetensors")).AssertFailed(1, "none.safetensors");
    }

    private static JsonElement[] Sequences(CliRun run) => [.. run.Json.GetProperty("sequences").EnumerateArray()];

    private static int Used(JsonElement sequence, string name) => sequence.GetProperty("usage").GetProperty(name).GetInt32();

    private static int[] Ids(JsonElement element, string name) => [.. element.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];
}

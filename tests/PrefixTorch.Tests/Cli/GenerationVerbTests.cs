using System.Text.Json;
using PrefixTorch.Cli;

namespace PrefixTorch.Tests.Cli;

/// <summary>The verbs that run the model, on the one that ships, in float32: exact against Hugging Face.</summary>
public class GenerationVerbTests
{
    private static readonly string[] s_exact = ["--dtype", "float32", "--kv-dtype", "float32"];

    private static readonly JsonElement s_golden = JsonDocument.Parse(File.ReadAllBytes(Repository.Fixture("goldens", "trained", "golden.json"))).RootElement;

    private static string Prefix => s_golden.GetProperty("prefix").GetString()!;

    [Fact]
    public async Task GenerateIsWhatHuggingFaceGenerates()
    {
        JsonElement golden = s_golden.GetProperty("runs")[0];
        CliRun run = await CliRun.Of(["generate", "--prompt", Prefix + golden.GetProperty("suffix").GetString(), "--greedy", "--max-new-tokens", "48", "--json", .. s_exact]);
        Assert.Equal(0, run.ExitCode);
        Assert.Equal("tiny-tolstoy", run.Json.GetProperty("model").GetString());
        JsonElement sequence = Assert.Single(run.Json.GetProperty("sequences").EnumerateArray().ToArray());
        Assert.Equal(Ids(golden, "prompt_ids"), Ids(sequence, "prompt_ids"));
        Assert.Equal(Ids(golden, "greedy_ids"), Ids(sequence, "ids"));
        Assert.Equal(golden.GetProperty("text").GetString(), sequence.GetProperty("text").GetString());
        Assert.Equal("length", sequence.GetProperty("finish_reason").GetString());
        Assert.Equal(24, sequence.GetProperty("usage").GetProperty("computed_tokens").GetInt32());
        Assert.Equal(
            ["index", "suffix", "prompt_ids", "ids", "text", "finish_reason", "score", "logprobs", "usage", "timings", "reuse", "seed"],
            sequence.EnumerateObject().Select(property => property.Name));
        Assert.Superset(
            new HashSet<string> { "prefill_seconds", "decode_seconds", "time_to_first_token_seconds", "tokens_per_second" },
            sequence.GetProperty("timings").EnumerateObject().Select(property => property.Name).ToHashSet());
    }

    [Fact]
    public async Task GenerateWritesTheTextAndNothingElseToStandardOutput()
    {
        JsonElement golden = s_golden.GetProperty("runs")[4];
        using var folder = new TemporaryFolder();
        string ids = folder.Write("ids.json", golden.GetProperty("prompt_ids").GetRawText());
        CliRun run = await CliRun.Of(["generate", "--ids", ids, "--greedy", "--max-new-tokens", "48", .. s_exact]);
        Assert.Equal(golden.GetProperty("text").GetString(), run.Out);
        Assert.Contains("18 prompt tokens (0 reused, 18 read", run.Err, StringComparison.Ordinal);
        Assert.Empty((await CliRun.Of(["generate", "--ids", ids, "--greedy", "--max-new-tokens", "1", "--quiet", .. s_exact])).Err);
    }

    [Fact]
    public async Task PrefillThenContinueIsWhatHuggingFaceGenerates()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "state.safetensors");
        CliRun prefill = await CliRun.Of(["prefill", "--prompt", Prefix, "--save", state, "--json", .. s_exact]);
        Assert.Equal(0, prefill.ExitCode);
        Assert.Equal(Ids(s_golden, "prefix_ids"), Ids(prefill.Json, "prompt_ids"));

        JsonElement[] goldens = [.. s_golden.GetProperty("runs").EnumerateArray()];
        CliRun run = await CliRun.Of(["continue", "--state", state, "--greedy", "--max-new-tokens", "48", "--json", .. s_exact, .. goldens.Select(golden => $"--suffix={golden.GetProperty("suffix").GetString()}")]);
        Assert.Equal("", string.Join('\n', run.Err.Split('\n').Where(line => line.Contains("prefixtorch:", StringComparison.Ordinal))));
        Assert.Equal(0, run.ExitCode);
        JsonElement[] sequences = [.. run.Json.GetProperty("sequences").EnumerateArray()];
        Assert.Equal(goldens.Length, sequences.Length);
        foreach ((JsonElement golden, JsonElement sequence) in goldens.Zip(sequences))
        {
            Assert.Equal(golden.GetProperty("suffix").GetString(), sequence.GetProperty("suffix").GetString());
            Assert.Equal(Ids(golden, "prompt_ids"), Ids(sequence, "prompt_ids"));
            Assert.Equal(Ids(golden, "greedy_ids"), Ids(sequence, "ids"));
            Assert.InRange(sequence.GetProperty("usage").GetProperty("reused_tokens").GetInt32(), 17, 18);
        }
    }

    [Fact]
    public async Task ContinuingAKeptResultIsContinuingTheWhole()
    {
        using var folder = new TemporaryFolder();
        string first = Path.Combine(folder.Path, "first.safetensors"), second = Path.Combine(folder.Path, "second.safetensors");
        JsonElement golden = s_golden.GetProperty("runs")[4];
        await CliRun.Of(["prefill", "--prompt", Prefix, "--save", first, .. s_exact]);
        CliRun ten = await CliRun.Of(["continue", "--state", first, "--greedy", "--max-new-tokens", "10", "--save", second, "--json", .. s_exact]);
        CliRun rest = await CliRun.Of(["continue", "--state", second, "--greedy", "--max-new-tokens", "38", "--json", .. s_exact]);
        int[] both = [.. Ids(ten.Json.GetProperty("sequences")[0], "ids"), .. Ids(rest.Json.GetProperty("sequences")[0], "ids")];
        Assert.Equal(Ids(golden, "greedy_ids"), both);
        Assert.Equal(28, rest.Json.GetProperty("sequences")[0].GetProperty("usage").GetProperty("reused_tokens").GetInt32());
    }

    [Fact]
    public async Task SamplesDifferAndRepeatWithTheSeed()
    {
        string[] line = ["generate", "--prompt", Prefix, "-n", "3", "--temperature", "0.9", "--seed", "5", "--max-new-tokens", "12", "--logprobs", "2", "--json", .. s_exact];
        JsonElement[] once = [.. (await CliRun.Of(line)).Json.GetProperty("sequences").EnumerateArray()];
        JsonElement[] again = [.. (await CliRun.Of(line)).Json.GetProperty("sequences").EnumerateArray()];
        Assert.Equal(3, once.Select(sequence => sequence.GetProperty("text").GetString()).Distinct().Count());
        Assert.Equal(once.Select(sequence => sequence.GetProperty("text").GetString()), again.Select(sequence => sequence.GetProperty("text").GetString()));
        Assert.All(once, sequence => Assert.Equal(5, sequence.GetProperty("seed").GetInt32()));
        Assert.Equal([18, 0, 0], once.Select(sequence => sequence.GetProperty("usage").GetProperty("computed_tokens").GetInt32()));
        JsonElement place = once[0].GetProperty("logprobs")[0];
        Assert.Equal(once[0].GetProperty("ids")[0].GetInt32(), place.GetProperty("id").GetInt32());
        Assert.Equal(2, place.GetProperty("top").GetArrayLength());

        // The first sample is what one alone would be.
        JsonElement alone = (await CliRun.Of([.. line.Select(word => word == "3" ? "1" : word)])).Json.GetProperty("sequences")[0];
        Assert.Equal(once[0].GetProperty("text").GetString(), alone.GetProperty("text").GetString());
    }

    [Fact]
    public async Task AGenerationConfigOfOnesOwnReplacesTheCheckpoints()
    {
        using var folder = new TemporaryFolder();
        int[] golden = Ids(s_golden.GetProperty("runs")[4], "greedy_ids");
        string file = folder.Write("own.json", $"{{\"do_sample\": false, \"eos_token_id\": {golden[3]}, \"max_new_tokens\": 9}}");
        JsonElement sequence = (await CliRun.Of(["generate", "--prompt", Prefix, "--generation-config", file, "--json", .. s_exact])).Json.GetProperty("sequences")[0];
        Assert.Equal(golden[..(Array.IndexOf(golden, golden[3]) + 1)], Ids(sequence, "ids"));
        Assert.Equal(JsonValueKind.Null, sequence.GetProperty("seed").ValueKind);
        (await CliRun.Of("generate", "--prompt", "x", "--generation-config", "none.json")).AssertFailed(1, "none.json");
    }

    [Fact]
    public async Task AStopTextEndsTheResultAndIsLeftOut()
    {
        JsonElement golden = s_golden.GetProperty("runs")[4];
        JsonElement sequence = (await CliRun.Of(["generate", "--prompt", Prefix, "--greedy", "--stop", " in the", "--json", .. s_exact])).Json.GetProperty("sequences")[0];
        Assert.Equal("stop", sequence.GetProperty("finish_reason").GetString());
        string text = golden.GetProperty("text").GetString()!;
        Assert.Equal(text[..text.IndexOf(" in the", StringComparison.Ordinal)], sequence.GetProperty("text").GetString());
    }

    [Fact]
    public async Task AnEndTokenEndsTheResultAndIsAmongItsIds()
    {
        int[] golden = Ids(s_golden.GetProperty("runs")[4], "greedy_ids");
        JsonElement sequence = (await CliRun.Of(["generate", "--prompt", Prefix, "--greedy", "--eos-token-id", $"{golden[7]}", "--json", .. s_exact])).Json.GetProperty("sequences")[0];
        Assert.Equal("eos", sequence.GetProperty("finish_reason").GetString());
        Assert.Equal(golden[..(Array.IndexOf(golden, golden[7]) + 1)], Ids(sequence, "ids"));
    }

    [Fact]
    public async Task LogitsAreHuggingFacesWithAndWithoutAPrefix()
    {
        using var folder = new TemporaryFolder();
        string ids = folder.Write("ids.json", "{\"input_ids\": [" + s_golden.GetProperty("runs")[0].GetProperty("prompt_ids").GetRawText() + "]}");
        foreach (string prefix in new[] { "0", "18" })
        {
            string path = Path.Combine(folder.Path, $"logits-{prefix}.safetensors");
            CliRun run = await CliRun.Of(["logits", "--ids", ids, "--prefix", prefix, "--out", path, "--json", .. s_exact]);
            Assert.Equal(0, run.ExitCode);
            Assert.Equal(24, run.Json.GetProperty("tokens").GetInt32());
            using var golden = PrefixTorch.Checkpoints.Checkpoint.Open(Repository.Fixture("goldens", "trained", "golden.safetensors"));
            using var written = PrefixTorch.Checkpoints.Checkpoint.Open(path);
            AssertClose(Floats(golden["logits"]), Floats(written["logits"]), 1e-4f);
            Assert.Equal([24, 4096], written["logits"].Shape);
            Assert.Equal([1, 2, 24, 32], written["key.5"].Shape);
            Assert.Equal(13, written.Tensors.Count);
        }
    }

    [Fact]
    public async Task TheDemoProvesItselfWithoutArguments()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "state.safetensors");
        CliRun run = await CliRun.Of("demo", "--json", "--state", state);
        Assert.Equal(0, run.ExitCode);
        Assert.True(File.Exists(state));
        Assert.True(run.Json.GetProperty("same").GetBoolean());
        foreach ((JsonElement golden, JsonElement suffix) in s_golden.GetProperty("runs").EnumerateArray().Zip(run.Json.GetProperty("suffixes").EnumerateArray()))
        {
            Assert.Equal(golden.GetProperty("suffix").GetString(), suffix.GetProperty("suffix").GetString());
            Assert.Equal(Ids(golden, "greedy_ids"), Ids(suffix, "ids"));
            Assert.True(suffix.GetProperty("same").GetBoolean());
        }

        CliRun people = await CliRun.Of("demo", "--prompt", "The Emperor", "--suffix", " smiled", "--max-new-tokens", "4");
        Assert.Contains($"{(await CliRun.Of("inspect", "--json")).Json.GetProperty("parameters").GetInt64():N0} parameters", people.Out, StringComparison.Ordinal);
        Assert.Equal(0, people.ExitCode);
        Assert.Contains("1 of 1 suffixes gave the same tokens", people.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task InterruptedTheStateIsKeptWhereAskedFor()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "state.safetensors");
        using var cancellation = new CancellationTokenSource();
        await using var output = new CancellingWriter(cancellation, afterWrites: 5);
        using var error = new StringWriter();
        int code = await CommandLine.RunAsync(["generate", "--prompt", Prefix, "--greedy", "--ignore-eos", "--max-new-tokens", "3000", "--save", state], TextReader.Null, output, error, cancellation.Token);
        Assert.Equal(130, code);
        Assert.True(File.Exists(state), error.ToString());
        CliRun rest = await CliRun.Of("continue", "--state", state, "--greedy", "--max-new-tokens", "1", "--json");
        Assert.InRange(rest.Json.GetProperty("sequences")[0].GetProperty("prompt_ids").GetArrayLength(), 18 + 5, 3000);
    }

    [Fact]
    public async Task WrongCommandLinesAreNamed()
    {
        (await CliRun.Of("generate")).AssertFailed(2, "No prompt was given", "--prompt");
        (await CliRun.Of("generate", "--prompt", "x", "--ids", "y")).AssertFailed(2, "--prompt and --ids were both given");
        (await CliRun.Of("generate", "--prompt", "x", "--top-p", "2")).AssertFailed(2, "--top-p is 2; it must be between 0 and 1");
        (await CliRun.Of("generate", "--prompt", "x", "--temperature", "warm")).AssertFailed(2, "--temperature is warm; it must be a number");
        (await CliRun.Of("generate", "--prompt", "x", "--max-new-tokens", "-1")).AssertFailed(2, "--max-new-tokens is -1; it must be a whole number from 0");
        (await CliRun.Of("generate", "--prompt", "x", "--dtype", "float7")).AssertFailed(2, "--dtype is float7; it must be one of auto, float32");
        (await CliRun.Of("generate", "--prompt", "x", "-n", "2", "--save", "s")).AssertFailed(2, "--save keeps one state");
        (await CliRun.Of("prefill", "--prompt", "x")).AssertFailed(2, "--save");
        (await CliRun.Of("continue", "--suffix", "x")).AssertFailed(2, "--state");
        (await CliRun.Of("continue", "--state", "s", "--suffix", "-", "--stop", "-")).AssertFailed(2, "both ask for standard input");
        (await CliRun.Of("logits", "--prompt", "x", "--prefix", "100", "--out", "o")).AssertFailed(2, "--prefix is 100");
    }

    [Fact]
    public async Task WhatCannotBeDoneIsNamed()
    {
        using var folder = new TemporaryFolder();
        (await CliRun.Of("generate", "--prompt", "x", "--model", folder.Path)).AssertFailed(1, folder.Path, "config.json");
        (await CliRun.Of("continue", "--state", folder.Write("s.safetensors", "no state"))).AssertFailed(1, "s.safetensors");
        (await CliRun.Of("generate", "--ids", folder.Write("ids.json", "[4096]"))).AssertFailed(1, "4096");
        (await CliRun.Of("generate", "--prompt", "@" + Path.Combine(folder.Path, "none.txt"))).AssertFailed(1, "--prompt", "none.txt");
    }

    [Fact]
    public async Task InspectTellsArchitectureTensorsAndWhatIsMissing()
    {
        JsonElement json = (await CliRun.Of("inspect", "--json")).Json;
        Assert.Equal(5_442_816, json.GetProperty("parameters").GetInt64());
        Assert.Equal(8, json.GetProperty("architecture").GetProperty("num_attention_heads").GetInt32());
        Assert.Equal("llama3", json.GetProperty("architecture").GetProperty("rope_type").GetString());
        Assert.Equal(57, json.GetProperty("tensors").GetArrayLength());
        Assert.Equal(JsonValueKind.Null, json.GetProperty("problem").ValueKind);
        Assert.Contains("layers\t6", (await CliRun.Of("inspect", Repository.TinyTolstoy)).Out, StringComparison.Ordinal);

        using var folder = new TemporaryFolder();
        string golden = Repository.Fixture("goldens", "mqa");
        File.Copy(Path.Combine(golden, "model.safetensors"), Path.Combine(folder.Path, "model.safetensors"));
        File.Copy(Path.Combine(Repository.Fixture("goldens", "biased"), "config.json"), Path.Combine(folder.Path, "config.json"));
        CliRun broken = await CliRun.Of("inspect", folder.Path, "--json");
        Assert.Equal(1, broken.ExitCode);
        Assert.Contains("Missing", broken.Json.GetProperty("problem").GetString(), StringComparison.Ordinal);
        Assert.Contains("Missing", broken.Err, StringComparison.Ordinal);
    }

    private static int[] Ids(JsonElement element, string name) => [.. element.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];

    private static float[] Floats(PrefixTorch.Checkpoints.CheckpointTensor tensor) => System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(tensor.Bytes).ToArray();

    private static void AssertClose(float[] expected, float[] actual, float tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.InRange(expected.Zip(actual, (a, b) => MathF.Abs(a - b)).Max(), 0, tolerance);
    }

    /// <summary>Presses Ctrl-C after some tokens.</summary>
    private sealed class CancellingWriter(CancellationTokenSource cancellation, int afterWrites) : StringWriter
    {
        private int _writes;

        public override void Write(string? value)
        {
            base.Write(value);
            if (++_writes == afterWrites)
            {
                cancellation.Cancel();
            }
        }
    }
}

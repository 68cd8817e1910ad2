using System.Text.Json;

namespace PrefixTorch.Tests.Cli;

public class StateVerbTests(StateFixture states) : IClassFixture<StateFixture>
{
    [Fact]
    public async Task InfoTellsWhatAFileSaysOfItself()
    {
        CliRun run = await CliRun.Of("state", "info", states.Prefix, states.Child, "--json");
        JsonElement[] documents = [.. run.Json.GetProperty("states").EnumerateArray()];
        Assert.Equal(["tiny-tolstoy", "tiny-tolstoy"], documents.Select(document => document.GetProperty("model").GetString()));
        int prefix = documents[0].GetProperty("length").GetInt32();
        Assert.Equal(JsonValueKind.Null, documents[0].GetProperty("parent").ValueKind);
        Assert.Equal("prefix.safetensors", documents[1].GetProperty("parent").GetString());
        Assert.Equal(prefix, documents[1].GetProperty("parent_length").GetInt32());
        Assert.Equal(documents[1].GetProperty("length").GetInt32() - prefix, documents[1].GetProperty("own_length").GetInt32());
        Assert.Equal("float32", documents[0].GetProperty("kv_dtype").GetString());
        Assert.True(new FileInfo(states.Child).Length < new FileInfo(states.Prefix).Length);

        string shown = (await CliRun.Of("state", "info", states.Child)).Out;
        Assert.Contains($"of prefix.safetensors, and {documents[1].GetProperty("own_length").GetInt32()} of its own", shown, StringComparison.Ordinal);
        Assert.Contains("generated\tgreedily", shown, StringComparison.Ordinal);
        Assert.Equal(shown, (await CliRun.Of("inspect", states.Child)).Out);
        Assert.Equal(documents[1].GetProperty("digest").GetString(), (await CliRun.Of("inspect", states.Child, "--json")).Json.GetProperty("state").GetProperty("digest").GetString());
    }

    [Fact]
    public async Task AFolderIsATreeOfWhoContinuesWhom()
    {
        File.Copy(Path.Combine(Repository.TinyTolstoy, "model-00001-of-00003.safetensors"), Path.Combine(states.Folder, "weights.safetensors"), overwrite: true);
        CliRun run = await CliRun.Of("state", "info", states.Folder);
        Assert.Equal(0, run.ExitCode);
        string[] lines = run.Out.TrimEnd().Split(Environment.NewLine);
        Assert.Equal(5, lines.Length);
        Assert.StartsWith("└── prefix.safetensors  ", lines[1], StringComparison.Ordinal);
        Assert.StartsWith("    └── child.safetensors  ", lines[2], StringComparison.Ordinal);
        Assert.StartsWith("        ├── grandchild.safetensors  ", lines[3], StringComparison.Ordinal);
        Assert.StartsWith("        └── other.safetensors  ", lines[4], StringComparison.Ordinal);
        Assert.Contains("weights.safetensors is no state", run.Err, StringComparison.Ordinal);
        File.Delete(Path.Combine(states.Folder, "weights.safetensors"));
        Assert.Equal(4, (await CliRun.Of("state", "info", states.Folder, "--json")).Json.GetProperty("states").GetArrayLength());
    }

    [Fact]
    public async Task DiffTellsWhatIsInCommon()
    {
        JsonElement diff = (await CliRun.Of("state", "diff", states.Grandchild, Path.Combine(states.Folder, "other.safetensors"), "--json")).Json;
        int child = (await CliRun.Of("state", "info", states.Child, "--json")).Json.GetProperty("states")[0].GetProperty("length").GetInt32();
        Assert.InRange(diff.GetProperty("common_tokens").GetInt32(), child - 1, child);
        Assert.Equal(0, diff.GetProperty("largest_distance").GetDouble());
        Assert.Equal(0, diff.GetProperty("differences").GetArrayLength());
        string shown = (await CliRun.Of("state", "diff", states.Prefix, states.Child)).Out;
        Assert.Contains("then\tthe end\t", shown, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CompactedAChainNeedsNoParent()
    {
        using var folder = new TemporaryFolder();
        string whole = Path.Combine(folder.Path, "whole.safetensors");
        CliRun run = await CliRun.Of("state", "compact", states.Grandchild, "--out", whole, "--json");
        Assert.Equal(new FileInfo(whole).Length, run.Json.GetProperty("bytes").GetInt64());
        Assert.Equal(await ContinueAsync(states.Grandchild), await ContinueAsync(whole));

        // The delta alone cannot be read, and says what it lacks; told where to look, it can.
        string moved = Path.Combine(folder.Path, "moved.safetensors");
        File.Copy(states.Grandchild, moved);
        (await CliRun.Of(["continue", "--state", moved, "--quiet", .. StateFixture.Exact])).AssertFailed(1, "child.safetensors");
        Assert.Equal(await ContinueAsync(whole), await ContinueAsync(moved, "--state-path", states.Folder));
    }

    [Fact]
    public async Task QuantizedItIsSmallerAndSaysByHowMuchItErrs()
    {
        using var folder = new TemporaryFolder();
        string small = Path.Combine(folder.Path, "small.safetensors");
        CliRun run = await CliRun.Of("state", "quantize", states.Prefix, "--out", small, "--json");
        Assert.InRange(run.Json.GetProperty("quantization_error").GetDouble(), 1e-5, 0.05);
        Assert.True(new FileInfo(small).Length < new FileInfo(states.Prefix).Length * 2 / 3);
        Assert.Contains("in the file as int8", (await CliRun.Of("state", "info", small)).Out, StringComparison.Ordinal);
        Assert.Equal(0, (await CliRun.Of(["continue", "--state", small, "--greedy", "--max-new-tokens", "2", .. StateFixture.Exact])).ExitCode);
    }

    [Fact]
    public async Task StateOfAnEightBitCacheIsContinuedByOneOrConvertedWhenAskedFor()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "state.safetensors");
        string[] go = ["continue", "--state", state, "--suffix", " He", "--greedy", "--max-new-tokens", "4"];
        Assert.Equal(0, (await CliRun.Of("prefill", "--prompt", "Prince Andrew rode up", "--save", state, "--kv-dtype", "int8")).ExitCode);
        JsonElement info = (await CliRun.Of("state", "info", state, "--json")).Json.GetProperty("states")[0];
        Assert.Equal(("int8", "int8", JsonValueKind.Null), (info.GetProperty("kv_dtype").GetString(), info.GetProperty("quantization").GetString(), info.GetProperty("quantization_error").ValueKind));
        Assert.Contains("× 32, int8\n", (await CliRun.Of("state", "info", state)).Out.ReplaceLineEndings("\n"), StringComparison.Ordinal);
        (await CliRun.Of(go)).AssertFailed(1, "as int8, the model as bfloat16", "--kv-dtype int8");
        CliRun narrow = await CliRun.Of([.. go, "--kv-dtype", "int8"]), wide = await CliRun.Of([.. go, "--convert"]);
        Assert.Equal((0, 0), (narrow.ExitCode, wide.ExitCode));
        Assert.Equal(wide.Out, narrow.Out);
        CliRun verified = await CliRun.Of("verify", "--state", state, "--suffix", " He thought", "--json", "--kv-dtype", "int8");
        Assert.Equal("bit_for_bit", verified.Json.GetProperty("verdict").GetString());
        (await CliRun.Of([.. go, "--kv-dtype", "int4"])).AssertFailed(2, "int8");
    }

    [Fact]
    public async Task ExportedItIsPlainTensors()
    {
        using var folder = new TemporaryFolder();
        string tensors = Path.Combine(folder.Path, "tensors.safetensors");
        Assert.Equal(0, (await CliRun.Of("state", "export", states.Child, "--out", tensors)).ExitCode);
        JsonElement[] found = [.. (await CliRun.Of("inspect", tensors, "--json")).Json.GetProperty("tensors").EnumerateArray()];
        Assert.Contains(found, tensor => tensor.GetProperty("name").GetString() == "key_cache.5");
        Assert.Contains(found, tensor => tensor.GetProperty("name").GetString() == "input_ids");
    }

    [Fact]
    public async Task VerifiedAStateIsWhatARecomputeGives()
    {
        CliRun run = await CliRun.Of(["verify", "--state", states.Grandchild, "--suffix", " He thought", "--json", .. StateFixture.Exact]);
        Assert.Equal(0, run.ExitCode);
        Assert.Equal("bit_for_bit", run.Json.GetProperty("verdict").GetString());
        Assert.True(run.Json.GetProperty("replay").GetProperty("same_bits").GetBoolean());
        Assert.InRange(run.Json.GetProperty("whole").GetProperty("largest_distance").GetDouble(), 0, 1e-4);
        CliRun shown = await CliRun.Of(["verify", "--state", states.Prefix, "--max-new-tokens", "4", .. StateFixture.Exact]);
        Assert.Contains("in the same pieces\t1\t0\tyes\tnone", shown.Out, StringComparison.Ordinal);
        Assert.Contains("bit for bit", shown.Err, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OutOfToleranceIsAFailure()
    {
        using var folder = new TemporaryFolder();
        string small = Path.Combine(folder.Path, "small.safetensors");
        await CliRun.Of("state", "quantize", states.Grandchild, "--out", small);
        CliRun run = await CliRun.Of(["verify", "--state", small, "--suffix", " He thought", "--json", .. StateFixture.Exact]);
        Assert.Equal(1, run.ExitCode);
        Assert.Equal("out_of_tolerance", run.Json.GetProperty("verdict").GetString());
        Assert.Contains("0.0001 is allowed", run.Err, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WrongCommandLinesAreNamed()
    {
        (await CliRun.Of("state")).AssertFailed(2, "info, diff, compact, quantize, export", "prefixtorch state --help");
        (await CliRun.Of("state", "frobnicate")).AssertFailed(2, "frobnicate");
        (await CliRun.Of("state", "info")).AssertFailed(2, "prefixtorch state info --help");
        (await CliRun.Of("state", "compact", states.Prefix)).AssertFailed(2, "--out");
        (await CliRun.Of("state", "info", "none.safetensors")).AssertFailed(1, "none.safetensors");
        using var folder = new TemporaryFolder();
        (await CliRun.Of("continue", "--state", folder.Path, "--suffix", "x")).AssertFailed(1, "that is a folder, and a file is needed");
        CliRun none = await CliRun.Of("state", "info", folder.Path);
        Assert.Equal(0, none.ExitCode);
        Assert.Contains("There is no state in", none.Err, StringComparison.Ordinal);
        (await CliRun.Of("continue", "--state", states.Prefix, "--delta")).AssertFailed(2, "--delta says how --save writes");
        (await CliRun.Of("branch", "--prompt", "x", "--save", "d", "--delta")).AssertFailed(2, "--delta", "--state FILE");
        foreach (string verb in new[] { "continue", "branch" })
        {
            (await CliRun.Of(verb, "--state", states.Prefix, "--convert", "--save", "d.safetensors", "--delta", "--model", "none")).AssertFailed(2, "a delta cannot follow a converted state", "save without --delta");
        }
    }

    private static async Task<string> ContinueAsync(string state, params string[] more)
    {
        CliRun run = await CliRun.Of(["continue", "--state", state, "--greedy", "--max-new-tokens", "8", .. StateFixture.Exact, .. more]);
        Assert.True(run.ExitCode == 0, run.Err);
        return run.Out;
    }
}

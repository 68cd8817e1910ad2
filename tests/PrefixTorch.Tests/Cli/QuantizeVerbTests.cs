using System.Text.Json;

namespace PrefixTorch.Tests.Cli;

public class QuantizeVerbTests
{
    [Theory]
    [InlineData("int8")]
    [InlineData("int4")]
    public async Task TheFolderThatIsMadeRunsLikeACheckpoint(string dtype)
    {
        using var folder = new TemporaryFolder();
        string target = Path.Combine(folder.Path, dtype);
        CliRun run = await CliRun.Of("quantize", "--model", Repository.TinyTolstoy, "--dtype", dtype, "--out", target, "--json");
        Assert.Equal(0, run.ExitCode);
        Assert.InRange(run.Json.GetProperty("bytes").GetInt64() / (double)run.Json.GetProperty("source_bytes").GetInt64(), 0.2, 0.6);
        JsonElement inspected = (await CliRun.Of("inspect", target, "--json")).Json;
        Assert.Equal(JsonValueKind.Null, inspected.GetProperty("problem").ValueKind);
        Assert.Equal(5_442_816, inspected.GetProperty("parameters").GetInt64());
        string[] line = ["generate", "--prompt", "Prince Andrew", "--greedy", "--max-new-tokens", "8"];
        CliRun made = await CliRun.Of([.. line, "--model", target]);
        Assert.Equal(0, made.ExitCode);
        Assert.NotEmpty(made.Out);

        // --dtype makes the same codes by itself, beside the model or in the user's cache.
        using var copy = new TemporaryFolder();
        foreach (string file in Directory.GetFiles(Repository.TinyTolstoy))
        {
            File.Copy(file, Path.Combine(copy.Path, Path.GetFileName(file)));
        }

        CliRun asked = await CliRun.Of([.. line, "--model", copy.Path, "--dtype", dtype]);
        Assert.Equal(made.Out, asked.Out);
        Assert.True(Directory.Exists(Path.Combine(copy.Path, $"prefixtorch-{dtype}")));
    }

    [Fact]
    public async Task WithoutAFolderThereIsNothingToWrite() => (await CliRun.Of("quantize")).AssertFailed(2, "--out");
}

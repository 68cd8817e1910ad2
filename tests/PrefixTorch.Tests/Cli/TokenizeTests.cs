using System.Text.Json;

namespace PrefixTorch.Tests.Cli;

public class TokenizeTests
{
    private static readonly string s_text = "Prince Andrew rode up to the battery and looked at the French camp across the river.";

    private static readonly int[] s_ids = [.. JsonDocument.Parse(File.ReadAllBytes(Repository.Fixture("goldens", "trained", "golden.json"))).RootElement.GetProperty("prefix_ids").EnumerateArray().Select(id => id.GetInt32())];

    [Fact]
    public async Task TextToIdsAndTokens()
    {
        CliRun run = await CliRun.Of("tokenize", "--json", "--model", Repository.TinyTolstoy, s_text);
        Assert.Equal(0, run.ExitCode);
        Assert.Empty(run.Err);
        Assert.Equal(s_ids, Ids(run.Json.GetProperty("ids")));
        Assert.Equal(s_ids.Length, run.Json.GetProperty("tokens").GetArrayLength());
        Assert.Equal(["ids", "tokens"], run.Json.EnumerateObject().Select(property => property.Name));
    }

    [Fact]
    public async Task PipedIdsAreAnIdsFile()
    {
        CliRun run = await CliRun.Of("tokenize", "--text", s_text);
        Assert.Equal(s_ids, JsonSerializer.Deserialize<int[]>(run.Out));
        CliRun back = await CliRun.WithInput(run.Out, "detokenize", "--skip-special");
        Assert.Equal(s_text, back.Out);
    }

    [Fact]
    public async Task TheDefaultModelIsTheOneThatShips() => Assert.Equal((await CliRun.Of("tokenize", "--model", Repository.TinyTolstoy, "war")).Out, (await CliRun.Of("tokenize", "war")).Out);

    [Fact]
    public async Task TextFromAFileAndFromStandardInputIsTakenAsItIs()
    {
        using var folder = new TemporaryFolder();
        string file = folder.Write("prompt.txt", "War and peace\n");
        CliRun direct = await CliRun.Of("tokenize", "War and peace\n");
        Assert.Equal(direct.Out, (await CliRun.Of("tokenize", $"@{file}")).Out);
        Assert.Equal(direct.Out, (await CliRun.WithInput("War and peace\n", "tokenize", "-")).Out);
        Assert.Equal(direct.Out, (await CliRun.WithInput("War and peace\n", "tokenize")).Out);
        Assert.NotEqual(direct.Out, (await CliRun.Of("tokenize", "War and peace")).Out);
    }

    [Theory]
    [InlineData("")]
    [InlineData("-5 degrees")]
    [InlineData("--prompt")]
    [InlineData("-v")]
    [InlineData("[suggest]")]
    [InlineData("\"quoted\" \\ text")]
    public async Task TextsThatLookLikeSomethingElseAreTexts(string text)
    {
        CliRun run = await CliRun.Of("tokenize", "--no-bos", $"--text={text}");
        Assert.Equal("", run.Err);
        Assert.Equal(text, (await CliRun.WithInput(run.Out, "detokenize")).Out);
    }

    [Fact]
    public async Task AnEmptyTextIsAText() => Assert.Equal($"[]{Environment.NewLine}", (await CliRun.Of("tokenize", "--no-bos", "--text", "")).Out);

    [Fact]
    public async Task TwoAtsAreOne() => Assert.Equal("@home", (await CliRun.WithInput((await CliRun.Of("tokenize", "--no-bos", "@@home")).Out, "detokenize")).Out);

    [Fact]
    public async Task SpecialTextStaysTextUnlessAskedFor()
    {
        string special = "<|end_of_text|>";
        Assert.True((await CliRun.Of("tokenize", "--json", "--no-bos", special)).Json.GetProperty("ids").GetArrayLength() > 1);
        JsonElement json = (await CliRun.Of("tokenize", "--json", "--no-bos", "--special", special)).Json;
        Assert.Equal(special, Assert.Single(json.GetProperty("tokens").EnumerateArray().ToArray()).GetString());
    }

    [Fact]
    public async Task LinesInLinesOut()
    {
        CliRun run = await CliRun.WithInput("\"War\"\n\n\"and\\npeace ½ 😀\"\n", "tokenize", "--lines", "--no-bos");
        string[] lines = run.Out.TrimEnd().Split(Environment.NewLine);
        Assert.Equal(2, lines.Length);
        CliRun back = await CliRun.WithInput(string.Join('\n', lines.Select(line => JsonDocument.Parse(line).RootElement.GetProperty("ids").GetRawText())), "detokenize", "--lines");
        Assert.Equal(["War", "and\npeace ½ 😀"], back.Out.TrimEnd().Split(Environment.NewLine).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("text").GetString()));
    }

    [Fact]
    public async Task IdsAsArgumentsAFileOrAnObject()
    {
        using var folder = new TemporaryFolder();
        string array = folder.Write("array.json", JsonSerializer.Serialize(s_ids)), batch = folder.Write("batch.json", $"{{\"input_ids\": [{JsonSerializer.Serialize(s_ids)}]}}");
        string expected = (await CliRun.Of(["detokenize", .. s_ids.Select(id => $"{id}")])).Out;
        Assert.Contains(s_text, expected, StringComparison.Ordinal);
        Assert.Equal(expected, (await CliRun.Of("detokenize", "--ids", array)).Out);
        Assert.Equal(expected, (await CliRun.Of("detokenize", "--ids", batch)).Out);
        Assert.Equal(expected, (await CliRun.Of("detokenize", JsonSerializer.Serialize(s_ids))).Out);
        Assert.Equal(expected, (await CliRun.Of("detokenize", "--json", "--ids", array)).Json.GetProperty("text").GetString());
    }

    [Fact]
    public async Task WhatIsNotIdsIsNamed()
    {
        using var folder = new TemporaryFolder();
        (await CliRun.Of("detokenize", "--ids", folder.Write("a.json", "{\"ids\": [1]}"))).AssertFailed(1, "a.json", "without input_ids");
        (await CliRun.Of("detokenize", "--ids", folder.Write("b.json", "[1, \"two\"]"))).AssertFailed(1, "b.json", "\"two\"");
        (await CliRun.Of("detokenize", "--ids", folder.Write("c.json", "[1,"))).AssertFailed(1, "c.json", "is not JSON");
        (await CliRun.Of("detokenize", "--ids", Path.Combine(folder.Path, "none.json"))).AssertFailed(1, "--ids", "none.json");
        (await CliRun.Of("detokenize", "one")).AssertFailed(2, "one is not a token id");
        (await CliRun.Of("detokenize", "99999999")).AssertFailed(1, "99999999");
        (await CliRun.WithInput("plain text\n", "tokenize", "--lines")).AssertFailed(1, "plain text", "not a JSON string");
    }

    private static int[] Ids(JsonElement ids) => [.. ids.EnumerateArray().Select(id => id.GetInt32())];
}

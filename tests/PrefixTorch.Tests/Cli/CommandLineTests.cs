using System.Diagnostics;
using PrefixTorch.Cli;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Tests.Cli;

public class CommandLineTests
{
    public static TheoryData<string> Verbs
    {
        get
        {
            using var streams = new Streams(TextReader.Null, TextWriter.Null, TextWriter.Null);
            return [.. All(streams).Select(verb => verb.Words)];
        }
    }

    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task EveryVerbHasHelpWithAnExample(string verb)
    {
        CliRun run = await CliRun.Of([.. verb.Split(' '), "--help"]);
        Assert.Equal(0, run.ExitCode);
        Assert.Empty(run.Err);
        Assert.Contains("Usage:", run.Out, StringComparison.Ordinal);
        Assert.Contains($"Examples:{Environment.NewLine}  prefixtorch {verb}", run.Out, StringComparison.Ordinal);
        Assert.Contains("--json", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryVerbDescribesItselfAndItsOptions()
    {
        using var streams = new Streams(TextReader.Null, TextWriter.Null, TextWriter.Null);
        foreach (Verb verb in All(streams))
        {
            Assert.False(string.IsNullOrEmpty(verb.Description), verb.Name);
            Assert.NotEmpty(verb.Examples);
            Assert.All(verb.Options, option => Assert.False(string.IsNullOrEmpty(option.Description), $"{verb.Name} {option.Name}"));
            Assert.Equal(verb.Options.Count, verb.Options.Select(option => option.Name).Distinct().Count());
        }
    }

    [Fact]
    public async Task WithoutArgumentsThereIsHelp()
    {
        CliRun run = await CliRun.Of();
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("tokenize", run.Out, StringComparison.Ordinal);
        Assert.Contains("prefixtorch demo", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnUnknownVerbIsAWrongCommandLine() => (await CliRun.Of("frobnicate")).AssertFailed(2, "frobnicate", "prefixtorch --help");

    [Fact]
    public async Task AnUnknownOptionIsAWrongCommandLine() => (await CliRun.Of("tokenize", "x", "--frobnicate")).AssertFailed(2, "--frobnicate", "prefixtorch tokenize --help");

    [Fact]
    public async Task AMissingModelCannotBeDone() => (await CliRun.Of("tokenize", "x", "--model", "no/such/folder")).AssertFailed(1, "no/such/folder");

    [Theory]
    [InlineData("generate", "--prompt", "x", "--save", "")]
    [InlineData("branch", "--prompt", "x", "--save", "")]
    [InlineData("chat", "--save", "")]
    [InlineData("logits", "--prompt", "x", "--out", "")]
    [InlineData("quantize", "--out", "")]
    [InlineData("tokenize", "x", "-m", "")]
    [InlineData("continue", "--state", "")]
    [InlineData("continue", "--state", "s", "--state-path", "")]
    [InlineData("inspect", "")]
    [InlineData("state", "info", "")]
    [InlineData("state", "compact", "", "--out", "x")]
    public async Task AnEmptyPathIsAWrongCommandLine(params string[] line) =>
        (await CliRun.Of(line)).AssertFailed(2, " is empty; give ", "--help");

    [Theory]
    [InlineData("generate", "--prompt", "x", "--max-new-tokens", "1")]
    [InlineData("inspect")]
    [InlineData("quantize", "--out", "{}")]
    public async Task AnInstructionSetThatIsNotThereIsNamed(params string[] line)
    {
        using var folder = new TemporaryFolder();
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PREFIXTORCH_ISA"] = "mmx";
        foreach (string argument in line.Prepend(Path.Combine(AppContext.BaseDirectory, "PrefixTorch.Cli.dll")))
        {
            start.ArgumentList.Add(argument == "{}" ? Path.Combine(folder.Path, "made") : argument);
        }

        using Process process = Process.Start(start)!;
        string error = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal($"prefixtorch: PREFIXTORCH_ISA=mmx is not one of amx, avx512, avxvnni, avx2, portable.{Environment.NewLine}", error);
        Assert.Equal(1, process.ExitCode);
    }

    [Fact]
    public async Task HelpSaysWhatATextMayBe()
    {
        string help = (await CliRun.Of("generate", "--help")).Out;
        Assert.Contains("@@text is the text @text", help, StringComparison.Ordinal);
        Assert.Contains("leaves it out, @file, or -", string.Join(' ', help.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
        Assert.Contains("@@text", (await CliRun.Of("tokenize", "--help")).Out, StringComparison.Ordinal);
        Assert.DoesNotContain("@@text", (await CliRun.Of("inspect", "--help")).Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CancellationIsExitCode130()
    {
        using var error = new StringWriter();
        int code = await CommandLine.RunAsync(["tokenize", "--lines"], new StringReader("\"a\"\n\"b\"\n"), TextWriter.Null, error, new CancellationToken(canceled: true));
        Assert.Equal(130, code);
        Assert.Equal($"prefixtorch: interrupted{Environment.NewLine}", error.ToString());
    }

    private static IEnumerable<Verb> All(Streams streams) => CommandLine.Build(streams).Subcommands.Cast<Verb>().SelectMany(verb => verb.Subcommands.Cast<Verb>().Prepend(verb));
}

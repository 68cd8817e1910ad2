using System.Text.Json;
using PrefixTorch.Cli;

namespace PrefixTorch.Tests.Cli;

/// <summary>A command line run in this process, and what came of it.</summary>
internal sealed record CliRun(int ExitCode, string Out, string Err)
{
    /// <summary>The JSON document on standard output.</summary>
    public JsonElement Json => JsonDocument.Parse(Out).RootElement;

    /// <summary>Runs a command line whose streams are no terminals.</summary>
    public static Task<CliRun> Of(params string[] args) => WithInput("", args);

    /// <summary>Runs a command line with something on standard input.</summary>
    public static async Task<CliRun> WithInput(string input, params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = await CommandLine.RunAsync(args, new StringReader(input), output, error, TestContext.Current.CancellationToken);
        return new CliRun(code, output.ToString(), error.ToString());
    }

    /// <summary>Asserts an exit code, nothing on standard output, and one line on standard error that holds the given words.</summary>
    public void AssertFailed(int code, params string[] words)
    {
        Assert.Equal(code, ExitCode);
        Assert.Empty(Out);
        Assert.EndsWith(Environment.NewLine, Err, StringComparison.Ordinal);
        Assert.Single(Err.TrimEnd().Split(Environment.NewLine));
        Assert.All(words, word => Assert.Contains(word, Err, StringComparison.Ordinal));
    }
}

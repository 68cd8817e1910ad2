using System.Text.Json;
using PrefixTorch.Caching;
using PrefixTorch.Cli;

namespace PrefixTorch.Tests.Cli;

/// <summary>Interrupted while the prompt is read, every verb shows and keeps what there is.</summary>
public class InterruptedReadingTests
{
    [Theory]
    [InlineData("generate", 1)]
    [InlineData("generate", 2)]
    [InlineData("branch", 1)]
    [InlineData("branch", 2)]
    public async Task WhatWasReadIsShownAndKept(string verb, int samples)
    {
        using var folder = new TemporaryFolder();
        string prompt = folder.Write("prompt.txt", string.Concat(Enumerable.Repeat("Prince Andrew rode up to the battery and looked at the French camp across the river. ", 200)));
        string save = Path.Combine(folder.Path, "kept{}.safetensors");
        using var cancellation = new CancellationTokenSource();
        using var output = new StringWriter();
        await using var error = new InterruptingWriter("loaded in", () => cancellation.CancelAfter(TimeSpan.FromMilliseconds(100)));
        string[] suffix = verb == "branch" && samples == 1 ? ["--suffix", " And then"] : [];
        string[] keep = verb == "generate" && samples > 1 ? [] : ["--save", save];
        int code = await CommandLine.RunAsync([verb, "--prompt", $"@{prompt}", "-n", $"{samples}", "--json", "-v", "-t", "1", .. keep, .. suffix], TextReader.Null, output, error, cancellation.Token);
        Assert.Equal(130, code);
        JsonElement[] sequences = [.. JsonDocument.Parse(output.ToString()).RootElement.GetProperty("sequences").EnumerateArray()];
        Assert.Equal(samples, sequences.Length);
        Assert.All(sequences, sequence => Assert.Equal("cancelled", sequence.GetProperty("finish_reason").GetString()));
        Assert.Equal(keep.Length == 0 ? 0 : samples, Directory.GetFiles(folder.Path, "kept*.safetensors").Length);
        JsonElement usage = sequences[0].GetProperty("usage");
        Assert.Equal(0, sequences[0].GetProperty("timings").GetProperty("time_to_first_token_seconds").GetDouble());
        foreach (string state in Directory.GetFiles(folder.Path, "kept*.safetensors"))
        {
            CliRun rest = await CliRun.Of("continue", "--state", state, "--greedy", "--max-new-tokens", "1", "--json");
            Assert.Equal(0, rest.ExitCode);
            Assert.InRange(rest.Json.GetProperty("sequences")[0].GetProperty("prompt_ids").GetArrayLength(), 1, 3999);

            // Only what was read counts as read.
            Assert.Equal((0, KvStateInfo.Read(state).Length), (usage.GetProperty("reused_tokens").GetInt32(), usage.GetProperty("computed_tokens").GetInt32()));
        }
    }
}

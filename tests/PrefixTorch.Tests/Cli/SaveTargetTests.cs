using System.Diagnostics;
using System.Text.Json;
using PrefixTorch.Cli;

namespace PrefixTorch.Tests.Cli;

/// <summary>Where results are written: nothing is lost, neither what was there nor what was computed.</summary>
public class SaveTargetTests(StateFixture states, ChatModel model) : IClassFixture<StateFixture>, IClassFixture<ChatModel>
{
    // Never loaded: who looks for it has looked at the target too late.
    private const string NoModel = "no-such-model";

    private static readonly string[] s_short = ["--greedy", "--max-new-tokens", "2"];

    [Theory]
    [InlineData("continue", "{0}")]
    [InlineData("branch", "{0}")]
    [InlineData("branch", "{1}/pre{{}}x.safetensors")]
    public async Task WhatAStateContinuesIsNotWrittenOver(string verb, string save)
    {
        byte[] before = await File.ReadAllBytesAsync(states.Prefix, TestContext.Current.CancellationToken);
        string target = string.Format(System.Globalization.CultureInfo.InvariantCulture, save, states.Prefix, states.Folder);
        if (target.Contains("{}", StringComparison.Ordinal))
        {
            // One of several results would take the parent's name.
            string parent = Path.Combine(states.Folder, "pre1x.safetensors"), child = Path.Combine(states.Folder, "of-pre1x.safetensors");
            File.Copy(states.Prefix, parent, overwrite: true);
            Assert.Equal(0, (await CliRun.Of(["continue", "--state", parent, "--save", child, "--delta", .. s_short, .. StateFixture.Exact])).ExitCode);
            (await CliRun.Of(["branch", "--state", child, "-n", "2", "--save", target, .. s_short, .. StateFixture.Exact])).AssertFailed(1, "--save", "pre1x.safetensors", "Give another name");
            File.Delete(parent);
            File.Delete(child);
            return;
        }

        (await CliRun.Of([verb, "--state", states.Grandchild, "--save", target, "--model", NoModel, .. s_short])).AssertFailed(1, "--save", target, "Give another name");
        Assert.Equal(before, await File.ReadAllBytesAsync(states.Prefix, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task NorThroughALink()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Links take rights there.");
        using var folder = new TemporaryFolder();
        string real = Directory.CreateDirectory(Path.Combine(folder.Path, "real")).FullName, parent = Path.Combine(real, Path.GetFileName(states.Prefix)), moved = Path.Combine(real, "moved.safetensors");
        string child = Path.Combine(real, "child.safetensors"), link = Path.Combine(folder.Path, "link"), elsewhere = Path.Combine(folder.Path, "elsewhere.safetensors");
        File.Copy(states.Prefix, parent);
        Assert.Equal(0, (await CliRun.Of(["continue", "--state", parent, "--save", child, "--delta", .. s_short, .. StateFixture.Exact])).ExitCode);
        Directory.CreateSymbolicLink(link, real);
        string[] through = ["continue", "--state", child, "--model", NoModel, "--save"];
        (await CliRun.Of([.. through, Path.Combine(link, Path.GetFileName(parent))])).AssertFailed(1, "--save", link, "Give another name");

        // The parent may be a link itself, whose target holds the keys and values; another link to it is nobody's.
        File.Move(parent, moved);
        File.CreateSymbolicLink(parent, moved);
        File.CreateSymbolicLink(elsewhere, moved);
        (await CliRun.Of([.. through, moved])).AssertFailed(1, "--save", moved, "Give another name");
        (await CliRun.Of([.. through, parent])).AssertFailed(1, "--save", parent, "Give another name");
        (await CliRun.Of([.. through, elsewhere])).AssertFailed(1, NoModel);
    }

    [Fact]
    public async Task NeitherByAChatNorByACompactedState()
    {
        byte[] before = await File.ReadAllBytesAsync(states.Child, TestContext.Current.CancellationToken);
        (await CliRun.Of("chat", "--state", states.Grandchild, "--save", states.Child, "--model", NoModel)).AssertFailed(1, "--save", "Give another name");
        (await CliRun.Of("state", "compact", states.Grandchild, "--out", states.Child)).AssertFailed(1, "--out", "Give another name");
        CliRun said = await CliRun.WithInput($"Hello\n/save {states.Child}\n", ["chat", "--state", states.Grandchild, "--model", model.Path, .. s_short, .. StateFixture.Exact]);
        Assert.Equal(1, said.ExitCode);
        Assert.Contains("/save: ", said.Err, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(states.Child, TestContext.Current.CancellationToken));

        // A state's own name is no one else's.
        string own = Path.Combine(states.Folder, "own.safetensors");
        File.Copy(states.Grandchild, own);
        Assert.Equal(0, (await CliRun.Of(["continue", "--state", own, "--save", own, .. s_short, .. StateFixture.Exact])).ExitCode);
        File.Delete(own);
    }

    [Fact]
    public async Task APlaceThatCannotBeWrittenToIsNamedBeforeTheModelIsLoaded()
    {
        using var folder = new TemporaryFolder();
        string nowhere = Path.Combine(folder.Path, "none", "x.safetensors"), file = folder.Write("file", ""), below = Path.Combine(file, "x.safetensors");
        string[][] lines = [["generate", "--prompt", "x", "--save"], ["prefill", "--prompt", "x", "--save"], ["continue", "--state", states.Prefix, "--save"], ["chat", "--save"], ["logits", "--prompt", "x", "--out"], ["demo", "--state"]];
        foreach (string[] line in lines)
        {
            (await CliRun.Of([.. line, nowhere, "--model", NoModel])).AssertFailed(1, line[^1], $"no folder {Path.GetDirectoryName(nowhere)}", "Make it");
            (await CliRun.Of([.. line, below, "--model", NoModel])).AssertFailed(1, line[^1], $"{file} is a file, and a folder is needed");
            (await CliRun.Of([.. line, folder.Path, "--model", NoModel])).AssertFailed(1, line[^1], $"{folder.Path} is a folder, and a file is to be written");
        }

        (await CliRun.Of("branch", "--prompt", "x", "--save", file, "--model", NoModel)).AssertFailed(1, "--save", $"{file} is a file, and a folder is needed");
        (await CliRun.Of("quantize", "--out", file)).AssertFailed(1, "--out", $"{file} is a file, and a folder is needed");
        (await CliRun.Of("pull", "some/model", "--to", file, "--endpoint", "http://localhost:1")).AssertFailed(1, "--to", $"{file} is a file, and a folder is needed");
    }

    [Fact]
    public async Task APipeOrDeviceIsNotReplaced()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "The kind of a file is looked at on Linux.");
        using var folder = new TemporaryFolder();
        string pipe = Path.Combine(folder.Path, "pipe"), link = Path.Combine(folder.Path, "link");
        using (var made = Process.Start("mkfifo", pipe))
        {
            await made.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        File.CreateSymbolicLink(link, pipe);
        (await CliRun.Of("generate", "--prompt", "x", "--save", pipe, "--model", NoModel)).AssertFailed(1, "--save", pipe, "no regular file");
        (await CliRun.Of("generate", "--prompt", "x", "--save", link, "--model", NoModel)).AssertFailed(1, "--save", link, "no regular file");
        (await CliRun.Of("state", "compact", states.Prefix, "--out", pipe)).AssertFailed(1, "--out", pipe, "no regular file");
    }

    [Theory]
    [InlineData("generate")]
    [InlineData("branch")]
    [InlineData("chat")]
    public async Task ResultsAreShownAlsoWhereTheyCannotBeKept(string verb)
    {
        // The folder goes while the model reads.
        using var folder = new TemporaryFolder();
        string inner = Directory.CreateDirectory(Path.Combine(folder.Path, "inner")).FullName, target = Path.Combine(inner, "x{}.safetensors");
        string[] line = verb switch
        {
            "generate" => ["--prompt", "Prince", "--save", target],
            "branch" => ["--prompt", "Prince", "-n", "2", "--save", target],
            _ => ["--save", target],
        };
        using var output = new StringWriter();
        await using var error = new InterruptingWriter("loaded in", () =>
        {
            Directory.Delete(inner);
            File.WriteAllText(inner, "");
        });
        int code = await CommandLine.RunAsync([verb, .. line, "--model", model.Path, "--json", "-v", .. s_short], new StringReader("Hello\n"), output, error, TestContext.Current.CancellationToken);
        Assert.Equal(1, code);
        Assert.Contains(inner, error.ToString().TrimEnd().Split(Environment.NewLine)[^1], StringComparison.Ordinal);
        Assert.Equal(verb == "branch" ? 2 : 1, JsonDocument.Parse(output.ToString()).RootElement.GetProperty("sequences").GetArrayLength());
    }
}

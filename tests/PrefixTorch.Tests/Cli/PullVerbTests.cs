using System.Diagnostics;
using System.Text.Json;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Tests.Checkpoints.Hub;

namespace PrefixTorch.Tests.Cli;

public sealed class PullVerbTests : IDisposable
{
    private const string Name = "some/tiny-tolstoy";

    private readonly TemporaryFolder _folder = new();
    private readonly LocalHub _hub = new();

    public PullVerbTests()
    {
        foreach (string file in Directory.GetFiles(Repository.TinyTolstoy))
        {
            _hub.Files[Path.GetFileName(file)] = File.ReadAllBytes(file);
        }

        _hub.Files["README.md"] = [1, 2, 3];
    }

    public void Dispose()
    {
        _hub.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task ItPrintsTheFolderAndTheModelRunsFromThereByName()
    {
        CliRun run = await CliRun.Of("pull", Name, "--endpoint", _hub.Endpoint.ToString(), "--to", _folder.Path);
        Assert.Equal(0, run.ExitCode);
        string folder = Path.Combine(_folder.Path, "models--some--tiny-tolstoy", "snapshots", LocalHub.Commit);
        Assert.Equal(folder + Environment.NewLine, run.Out);
        AssertComplete(folder);
        Assert.Equal(folder, ModelFolder.Resolve(Name, _folder.Path));
        Assert.Equal(folder, ModelFolder.Resolve($"{Name}@{LocalHub.Commit}", _folder.Path));
        CliRun generated = await CliRun.Of("generate", "--model", folder, "--prompt", "War", "--greedy", "--max-new-tokens", "2", "--json");
        Assert.Equal(Name, generated.Json.GetProperty("model").GetString());

        JsonElement again = (await CliRun.Of("pull", Name, "--endpoint", _hub.Endpoint.ToString(), "--to", _folder.Path, "--json")).Json;
        Assert.Equal((folder, 0), (again.GetProperty("folder").GetString(), again.GetProperty("downloaded_bytes").GetInt64()));
        Assert.Equal(8, again.GetProperty("files").GetArrayLength());
    }

    [Fact]
    public async Task KilledAtTenPointsItEndsCompleteAndIdentical()
    {
        // Ten kills: when the hub is asked for the first, second, … time; and while the largest file arrives, each time further on.
        string largest = _hub.Files.MaxBy(file => file.Value.Length).Key;
        int size = _hub.Files[largest].Length, requests = 0;
        for (int point = 0; point < 10; point++)
        {
            int kill = point, inFile = 0;
            requests = 0;
            using Process pull = StartPull();
            _hub.Behaviour = (request, answer) =>
            {
                bool isLargest = request.Path == $"/{largest}" && request.Method == "GET";
                if (kill < 5 && Interlocked.Increment(ref requests) == (3 * kill) + 1)
                {
                    pull.Kill();
                }
                else if (kill >= 5 && isLargest && Interlocked.Increment(ref inFile) == 1)
                {
                    // A part arrives, then nothing more does, until the kill.
                    _ = KillSoonAsync(pull);
                    return answer with { BreakAfter = Math.Min(answer.Body.Length, size / 10) };
                }

                return answer;
            };
            await pull.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.NotEqual(0, pull.ExitCode);
            Assert.False(File.Exists(Path.Combine(_folder.Path, "models--some--tiny-tolstoy", "refs", "main")));
        }

        _hub.Behaviour = (_, answer) => answer;
        using Process last = StartPull();
        string folder = (await last.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)).Trim();
        await last.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, last.ExitCode);
        AssertComplete(folder);

        // What the kills left of the largest file was not brought again.
        Assert.Contains(_hub.Requests, request => request.Path == $"/{largest}" && request.Headers.ContainsKey("range") && request.Offset > size / 3);
        Assert.Equal(folder, ModelFolder.Resolve(Name, _folder.Path));
    }

    [Fact]
    public async Task WhatIsNotThereIsNamed()
    {
        (await CliRun.Of("tokenize", "x", "--model", "nobody/never-pulled")).AssertFailed(1, "nobody/never-pulled", "prefixtorch pull nobody/never-pulled");
        (await CliRun.Of("inspect", "nobody/never-pulled@v2")).AssertFailed(1, "v2", "prefixtorch pull nobody/never-pulled --revision v2");
        (await CliRun.Of("pull")).AssertFailed(2, "pull --help");
        (await CliRun.Of("pull", "no name at all")).AssertFailed(1, "'no name at all' is no repository's name");
        (await CliRun.Of("pull", Name, "--endpoint", "localhost")).AssertFailed(2, "--endpoint is localhost; it must be an http or https address");
        (await CliRun.Of("pull", Name, "--revision", "../main", "--endpoint", _hub.Endpoint.ToString(), "--to", _folder.Path)).AssertFailed(1, "'../main'");
    }

    private static async Task KillSoonAsync(Process process)
    {
        await Task.Delay(TimeSpan.FromMilliseconds(150));
        process.Kill();
    }

    private Process StartPull()
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in new[] { Path.Combine(AppContext.BaseDirectory, "PrefixTorch.Cli.dll"), "pull", Name, "--endpoint", _hub.Endpoint.ToString(), "--to", _folder.Path })
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }

    private void AssertComplete(string folder)
    {
        Assert.Equal(_hub.Files.Keys.Where(path => path != "README.md").Order(), Directory.GetFiles(folder).Select(path => Path.GetFileName(path)!).Order());
        Assert.All(Directory.GetFiles(folder), path => Assert.Equal(_hub.Files[Path.GetFileName(path)], File.ReadAllBytes(path)));
    }
}

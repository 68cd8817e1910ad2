using System.Text;
using PrefixTorch.Checkpoints.Hub;

namespace PrefixTorch.Tests.Checkpoints.Hub;

public sealed class ModelPullerTests : IDisposable
{
    private const string Repository = "some/tiny-model";
    private const string Weights = "model-00001-of-00002.safetensors";

    private readonly string _folder = Directory.CreateTempSubdirectory("hub-").FullName;
    private readonly LocalHub _hub = new();
    private readonly HubOptions _options;

    public ModelPullerTests()
    {
        _options = new HubOptions { Endpoint = _hub.Endpoint, CacheFolder = Path.Combine(_folder, "hub"), Token = "secret", RetryDelay = TimeSpan.FromMilliseconds(1), Attempts = 3 };
        var random = new Random(1);
        foreach ((string path, int size) in new[] { (Weights, 300_000), ("model-00002-of-00002.safetensors", 200_000), ("tokenizer.json", 20_000), ("additional_chat_templates/rag.jinja", 100) })
        {
            _hub.Files[path] = new byte[size];
            random.NextBytes(_hub.Files[path]);
        }

        foreach (string path in new[] { "config.json", "model.safetensors.index.json", "README.md", "pytorch_model.bin", "original/consolidated.00.pth", "consolidated.safetensors", "original/tokenizer.model" })
        {
            _hub.Files[path] = Encoding.UTF8.GetBytes($"{{\"{path}\": 1}}");
        }
    }

    public void Dispose()
    {
        _hub.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task PullsOnlyWhatIsNeededInTransformersLayout()
    {
        var last = new PullProgress();
        var gate = new Lock();
        PullResult result = await PullAsync(progress: new Direct(progress =>
        {
            lock (gate)
            {
                last = progress.Bytes > last.Bytes ? progress : last;
            }
        }));

        string model = Path.Combine(_options.CacheFolder, "models--some--tiny-model");
        Assert.Equal(Path.Combine(model, "snapshots", LocalHub.Commit), result.Folder);
        Assert.Equal(["additional_chat_templates/rag.jinja", "config.json", Weights, "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json"], result.Files.Order(StringComparer.Ordinal));
        Assert.Equal(LocalHub.Commit, File.ReadAllText(Path.Combine(model, "refs", "main")));
        AssertComplete(result);
        Assert.Equal((result.TotalBytes, result.TotalBytes, result.TotalBytes), (result.DownloadedBytes, last.Bytes, last.TotalBytes));
        Assert.Equal("../../blobs/" + LocalHub.HashOf(Weights, _hub.Files[Weights]), new FileInfo(Path.Combine(result.Folder, Weights)).LinkTarget);
        Assert.StartsWith("../../../blobs/", new FileInfo(Path.Combine(result.Folder, "additional_chat_templates", "rag.jinja")).LinkTarget, StringComparison.Ordinal);

        PullResult again = await PullAsync();
        Assert.Equal(0, again.DownloadedBytes);
        AssertComplete(again);
    }

    [Fact]
    public async Task TheTokenGoesToTheHubAndNotWhereItRedirects()
    {
        await PullAsync();
        Assert.Contains(_hub.Requests, request => request.Host == _hub.StoreHost);
        Assert.All(_hub.Requests, request => Assert.Equal(request.Host != _hub.StoreHost, request.Headers.ContainsKey("authorization")));
    }

    [Fact]
    public async Task RedirectsWithinTheHubAreFollowedForMetadata()
    {
        _hub.Behaviour = (request, answer) => request.Path.StartsWith("/" + Repository, StringComparison.Ordinal) ? LocalHub.Empty(307, "Location: /moved" + request.Path) : answer;
        AssertComplete(await PullAsync());
        _hub.Behaviour = (request, _) => LocalHub.Empty(302, "Location: " + request.Path);
        Assert.Contains("redirects", (await FailAsync()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABrokenDownloadGoesOnWhereItEnded()
    {
        _hub.Behaviour = (request, answer) => IsBody(request, Weights) ? answer with { BreakAfter = 100_000 } : answer;
        PullResult result = await PullAsync();
        AssertComplete(result);
        Assert.Equal(result.TotalBytes, result.DownloadedBytes);
        Assert.Equal([0, 100_000, 200_000], _hub.Requests.Where(request => IsBody(request, Weights)).Select(request => request.Offset));
    }

    [Fact]
    public async Task AHubThatIgnoresRangesIsReadFromTheStart()
    {
        int bodies = 0;
        _hub.Behaviour = (request, answer) => !IsBody(request, Weights) ? answer
            : Interlocked.Increment(ref bodies) == 1 ? answer with { BreakAfter = 100_000 }
            : new Answer(200, _hub.Files[Weights], []);
        AssertComplete(await PullAsync());
        Assert.Equal(2, bodies);
    }

    [Fact]
    public async Task AHubThatAlwaysBreaksOffWithoutANewByteIsGivenUp()
    {
        _hub.Behaviour = (request, answer) => IsBody(request, Weights) ? answer with { BreakAfter = request.Offset == 0 ? 1000 : 0 } : answer;
        HubException error = await FailAsync();
        Assert.Contains("in a row", error.Message, StringComparison.Ordinal);
        Assert.Matches(@"[^.]\. What arrived is kept", error.Message);
        Assert.Contains("1000 of 300000", error.Message, StringComparison.Ordinal);
        _hub.Behaviour = (_, answer) => answer;
        PullResult result = await PullAsync();
        AssertComplete(result);
        Assert.True(result.DownloadedBytes < result.TotalBytes);
    }

    [Theory]
    [InlineData(299_000)]
    [InlineData(400_000)]
    public async Task AnAnswerOfAnotherLengthThanPublishedIsRefused(int length)
    {
        _hub.Behaviour = (request, answer) => IsBody(request, Weights) ? answer with { Body = new byte[length] } : answer;
        HubException error = await FailAsync();
        Assert.Contains($"{Weights} of {Repository} is published with 300000 bytes", error.Message, StringComparison.Ordinal);
        Assert.Contains(length.ToString(), error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task APublishedLengthThatIsALieIsRefused()
    {
        _hub.Behaviour = (request, answer) => request.Method == "HEAD" && request.Path.EndsWith("tokenizer.json", StringComparison.Ordinal) ? answer with { ClaimedLength = 19_999 } : answer;
        Assert.Contains("tokenizer.json of some/tiny-model is published with 19999 bytes", (await FailAsync()).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Weights, "SHA-256")]
    [InlineData("config.json", "git SHA-1")]
    public async Task WrongBytesAreRemovedAndSaid(string path, string kind)
    {
        byte[] wrong = [.. _hub.Files[path]];
        wrong[^1] ^= 1;
        _hub.Behaviour = (request, answer) => IsBody(request, path) ? answer with { Body = wrong } : answer;
        HubException error = await FailAsync();
        Assert.Contains(kind, error.Message, StringComparison.Ordinal);
        Assert.Contains(LocalHub.HashOf(path, _hub.Files[path]), error.Message, StringComparison.Ordinal);
        Assert.Contains(LocalHub.HashOf(path, wrong), error.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Blob(path)));
        Assert.False(File.Exists(Blob(path) + ".incomplete"));
        _hub.Behaviour = (_, answer) => answer;
        AssertComplete(await PullAsync());
    }

    [Fact]
    public async Task AServerErrorPasses()
    {
        var failed = new HashSet<string>();
        _hub.Behaviour = (request, answer) =>
        {
            lock (failed)
            {
                return failed.Add(request.Method + request.Path) ? LocalHub.Empty(500) : answer;
            }
        };
        AssertComplete(await PullAsync());
        _hub.Behaviour = (_, _) => LocalHub.Empty(503);
        _hub.Requests.Clear();
        Assert.Contains("503", (await FailAsync()).Message, StringComparison.Ordinal);
        Assert.Equal(3, _hub.Requests.Count);
    }

    [Theory]
    [InlineData(401, "HF_TOKEN")]
    [InlineData(403, "HF_TOKEN")]
    [InlineData(404, "revision")]
    public async Task ARefusalNamesTheRepositoryAndTheRemedy(int status, string remedy)
    {
        _hub.Behaviour = (_, _) => LocalHub.Empty(status, "X-Error-Code: GatedRepo");
        string message = (await FailAsync()).Message;
        Assert.Contains(Repository, message, StringComparison.Ordinal);
        Assert.Contains(remedy, message, StringComparison.Ordinal);
        Assert.Contains("GatedRepo", message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", message, StringComparison.Ordinal);
        Assert.Single(_hub.Requests);
    }

    [Fact]
    public async Task AFullDiskIsSaidBeforeAnythingIsDownloaded()
    {
        using var puller = new ModelPuller(_options, _ => 1000);
        var error = await Assert.ThrowsAsync<HubException>(() => puller.PullAsync(Repository, cancellation: TestContext.Current.CancellationToken));
        Assert.Contains("Make room", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(_hub.Requests, request => IsBody(request, Weights));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task StoppedAtTenPointsAPullEndsCompleteAndIdentical(bool breaksConnection)
    {
        long total = (await PullAsync()).TotalBytes;
        string[] whole = Listing();
        for (int point = 0; point < 10; point++)
        {
            Directory.Delete(_options.CacheFolder, recursive: true);
            long limit = total * point / 10;
            using var stop = new CancellationTokenSource();
            if (breaksConnection)
            {
                // As killed: every connection breaks at once, and nobody tries again.
                int left = (int)limit;
                _hub.Behaviour = (request, answer) => request.Method == "HEAD" || answer.Status is 302 || request.Path.StartsWith("/api", StringComparison.Ordinal) ? answer
                    : answer with { BreakAfter = Math.Max(0, Interlocked.Add(ref left, -answer.Body.Length) + answer.Body.Length) };
                await Assert.ThrowsAsync<HubException>(() => PullAsync(_options with { Attempts = 1 }));
            }
            else
            {
                var progress = new Direct(progress =>
                {
                    if (progress.Bytes > limit)
                    {
                        stop.Cancel();
                    }
                });
                await Assert.ThrowsAnyAsync<OperationCanceledException>(() => PullAsync(progress: progress, stop: stop));
            }

            Assert.False(File.Exists(Path.Combine(_options.CacheFolder, "models--some--tiny-model", "refs", "main")));
            _hub.Behaviour = (_, answer) => answer;
            AssertComplete(await PullAsync());
            Assert.Equal(whole, Listing());
        }
    }

    [Fact]
    public async Task WhateverAKilledPullLeftTheNextEndsIdentical()
    {
        PullResult first = await PullAsync();
        string[] whole = Listing();
        byte[] bytes = _hub.Files[Weights];
        string pointer = Path.Combine(first.Folder, Weights);
        (string Name, Action Leave)[] wrecks =
        [
            ("a part", () => Replace(bytes[..1234])),
            ("all, but not checked", () => Replace(bytes)),
            ("nothing yet", () => Replace([])),
            ("too much", () => Replace([.. bytes, 1, 2, 3])),
            ("zeros, as after a loss of power", () => Replace(new byte[1234])),
            ("all zeros", () => Replace(new byte[bytes.Length])),
            ("a blob without a link", () => File.Delete(pointer)),
            ("a link without a blob", () => File.Delete(Blob(Weights))),
            ("a blob cut short", () => File.WriteAllBytes(Blob(Weights), bytes[..99])),
            ("no ref", () => Directory.Delete(Path.Combine(_options.CacheFolder, "models--some--tiny-model", "refs"), recursive: true)),
        ];
        foreach ((string name, Action leave) in wrecks)
        {
            leave();
            AssertComplete(await PullAsync());
            Assert.True(whole.SequenceEqual(Listing()), name);
        }

        void Replace(byte[] incomplete)
        {
            File.Delete(Blob(Weights));
            File.WriteAllBytes(Blob(Weights) + ".incomplete", incomplete);
        }
    }

    [Theory]
    [InlineData("../evil")]
    [InlineData("/etc/passwd")]
    [InlineData("a/../../b.safetensors")]
    [InlineData("c:\\x")]
    public async Task NamesThatLeaveTheFolderAreRefused(string path)
    {
        _hub.Files[path] = [1];
        Assert.Contains(path, (await FailAsync()).Message, StringComparison.Ordinal);
        using var puller = new ModelPuller(_options);
        await Assert.ThrowsAsync<HubException>(() => puller.PullAsync(path, cancellation: TestContext.Current.CancellationToken));
        await Assert.ThrowsAsync<HubException>(() => puller.PullAsync(Repository, path, cancellation: TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task ARepositoryOfPicklesOrWithoutAModelIsRefused()
    {
        foreach (string path in _hub.Files.Keys.Where(path => path.EndsWith(".safetensors", StringComparison.Ordinal)).ToList())
        {
            _hub.Files.Remove(path);
        }

        Assert.Contains("pytorch_model.bin", (await FailAsync()).Message, StringComparison.Ordinal);
        _hub.Files.Remove("config.json");
        Assert.Contains("config.json", (await FailAsync()).Message, StringComparison.Ordinal);
        _hub.Behaviour = (_, _) => new Answer(200, Encoding.UTF8.GetBytes("<html>"), []);
        Assert.Contains("HF_ENDPOINT", (await FailAsync()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheEnvironmentSaysWhereModelsComeFromAndGo()
    {
        HubOptions Read(params (string Name, string Value)[] variables) => HubOptions.FromEnvironment(name => variables.FirstOrDefault(variable => variable.Name == name).Value);

        Assert.Equal(new Uri("https://huggingface.co"), Read().Endpoint);
        Assert.EndsWith(Path.Combine(".cache", "huggingface", "hub"), Read().CacheFolder, StringComparison.Ordinal);
        Assert.Equal(Path.GetFullPath("/h/hub"), Read(("HF_HOME", "/h")).CacheFolder);
        Assert.Equal(Path.GetFullPath("/x/huggingface/hub"), Read(("XDG_CACHE_HOME", "/x")).CacheFolder);
        Assert.Equal(Path.GetFullPath("/c"), Read(("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")).CacheFolder);
        Assert.Equal("t", Read(("HF_TOKEN", " t\n")).Token);
        Assert.Null(Read(("HF_TOKEN", "")).Token);
        Assert.Equal(new Uri("http://mirror:8080/hf"), Read(("HF_ENDPOINT", "http://mirror:8080/hf")).Endpoint);
        Assert.Throws<HubException>(() => Read(("HF_ENDPOINT", "mirror")));
    }

    private static bool IsBody(HubRequest request, string path) =>
        request.Method == "GET" && request.Path.EndsWith("/" + path, StringComparison.Ordinal) && (request.Path.Length == path.Length + 1 || !path.EndsWith(".safetensors", StringComparison.Ordinal));

    private async Task<PullResult> PullAsync(HubOptions? options = null, IProgress<PullProgress>? progress = null, CancellationTokenSource? stop = null)
    {
        using var puller = new ModelPuller(options ?? _options);
        return await puller.PullAsync(Repository, progress: progress, cancellation: stop?.Token ?? TestContext.Current.CancellationToken);
    }

    private async Task<HubException> FailAsync() => await Assert.ThrowsAsync<HubException>(() => PullAsync());

    private string Blob(string path) => Path.Combine(_options.CacheFolder, "models--some--tiny-model", "blobs", LocalHub.HashOf(path, _hub.Files[path]));

    private void AssertComplete(PullResult result)
    {
        foreach (string path in result.Files)
        {
            Assert.Equal(_hub.Files[path], File.ReadAllBytes(Path.Combine(result.Folder, path)));
        }

        Assert.DoesNotContain(Listing(), line => line.Contains(".incomplete", StringComparison.Ordinal));
    }

    /// <summary>Every file of the cache with what it holds or leads to.</summary>
    private string[] Listing() =>
        [.. Directory.GetFiles(_options.CacheFolder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(path =>
            $"{Path.GetRelativePath(_options.CacheFolder, path)} {new FileInfo(path).LinkTarget ?? Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(path)))}")];

    /// <summary>Progress that is told at once, on the thread that downloads.</summary>
    private sealed class Direct(Action<PullProgress> report) : IProgress<PullProgress>
    {
        public void Report(PullProgress value) => report(value);
    }
}

using System.Globalization;

namespace PrefixTorch.Checkpoints.Hub;

/// <summary>
/// Pulls models from a Hugging Face compatible hub into the cache that transformers reads: only the files that are needed,
/// several at once, on from where an earlier pull ended, each checked against the published hash. Killed at any point, a
/// pull that is run again completes. Safe from any thread; the caller disposes it.
/// </summary>
public sealed class ModelPuller : IDisposable
{
    private readonly HubOptions _options;
    private readonly HttpClient _http;
    private readonly HubClient _client;
    private readonly Func<string, long> _freeSpace;

    /// <summary>Creates a puller; without options, with those that the environment asks for.</summary>
    /// <exception cref="HubException">The environment's HF_ENDPOINT is no address.</exception>
    public ModelPuller(HubOptions? options = null) : this(options ?? HubOptions.FromEnvironment(), FreeSpace)
    {
    }

    internal ModelPuller(HubOptions options, Func<string, long> freeSpace)
    {
        _options = options;
        _http = new HttpClient(HubClient.CreateHandler()) { Timeout = Timeout.InfiniteTimeSpan };
        _client = new HubClient(_http, options);
        _freeSpace = freeSpace;
    }

    /// <summary>Pulls a model.</summary>
    /// <param name="repository">Its name on the hub, such as meta-llama/Llama-3.1-8B.</param>
    /// <param name="revision">A branch, tag or commit.</param>
    /// <param name="progress">Told whenever something arrived, from several threads.</param>
    /// <param name="cancellation">Stops the pull; what arrived is kept for the next.</param>
    /// <exception cref="HubException">The hub refuses, has no such model, or sends what it did not publish; or the disk is too small.</exception>
    public async Task<PullResult> PullAsync(string repository, string revision = "main", IProgress<PullProgress>? progress = null, CancellationToken cancellation = default)
    {
        HubNames.CheckRepository(repository);
        HubNames.CheckPath("revision", revision);
        (string commit, IReadOnlyList<string> paths) = await _client.GetRevisionAsync(repository, revision, cancellation).ConfigureAwait(false);
        IReadOnlyList<string> needed = NeededFiles.Choose(repository, paths);
        var files = new HubFile[needed.Count];
        await Parallel.ForAsync(0, needed.Count, Parallelism(cancellation), async (i, token) =>
            files[i] = await _client.GetFileAsync(repository, commit, needed[i], token).ConfigureAwait(false)).ConfigureAwait(false);

        var cache = new HubCache(_options.CacheFolder, repository);
        cache.Create();
        long total = files.Sum(file => file.Size);
        long present = files.Sum(file => cache.Present(commit, file));
        CheckSpace(repository, total - present);
        long downloaded = await DownloadAsync(cache, repository, commit, files, (present, total), progress, cancellation).ConfigureAwait(false);
        foreach (HubFile file in files)
        {
            cache.Link(commit, file);
        }

        if (revision != commit)
        {
            cache.WriteRef(revision, commit);
        }

        return new PullResult(cache.Snapshot(commit), commit, needed, total, downloaded);
    }

    /// <summary>Closes the connections.</summary>
    public void Dispose() => _http.Dispose();

    private async Task<long> DownloadAsync(HubCache cache, string repository, string commit, HubFile[] files, (long Present, long Total) bytes, IProgress<PullProgress>? progress, CancellationToken cancellation)
    {
        long here = bytes.Present;
        long downloaded = 0;

        // Two paths may be one blob (the same bytes): it is downloaded once.
        IEnumerable<HubFile> missing = files.Where(file => !cache.Has(commit, file)).DistinctBy(file => file.Hash);
        await Parallel.ForEachAsync(missing, Parallelism(cancellation), async (file, token) =>
        {
            void Moved(long count)
            {
                if (count > 0)
                {
                    Interlocked.Add(ref downloaded, count);
                }

                progress?.Report(new PullProgress(file.Path, Interlocked.Add(ref here, count), bytes.Total));
            }

            await new BlobDownload(_client, _options, cache, repository, commit, file, Moved).RunAsync(token).ConfigureAwait(false);
        }).ConfigureAwait(false);
        return downloaded;
    }

    private ParallelOptions Parallelism(CancellationToken cancellation) => new() { MaxDegreeOfParallelism = Math.Max(1, _options.Parallelism), CancellationToken = cancellation };

    private void CheckSpace(string repository, long needed)
    {
        long free = _freeSpace(_options.CacheFolder);
        if (needed > free)
        {
            throw new HubException($"{repository} needs {Gigabytes(needed)} more on the disk of {_options.CacheFolder}, which has {Gigabytes(free)} free. Make room, or set HF_HOME to a folder on a larger disk.");
        }
    }

    private static string Gigabytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:0.###} GB");

    private static long FreeSpace(string folder) => new DriveInfo(folder).AvailableFreeSpace;
}

using System.Net;

namespace PrefixTorch.Checkpoints.Hub;

/// <summary>
/// Brings one file into the cache: goes on where an earlier download ended, checks length and hash, and only then gives
/// the blob its name.
/// </summary>
internal sealed class BlobDownload(HubClient client, HubOptions options, HubCache cache, string repository, string commit, HubFile file, Action<long> moved)
{
    private const int ChunkSize = 1 << 18;

    private readonly string _path = cache.Incomplete(file);

    public async Task RunAsync(CancellationToken cancellation)
    {
        while (true)
        {
            (bool resumed, string hash) = await FillAsync(cancellation).ConfigureAwait(false);
            if (hash == file.Hash)
            {
                File.Move(_path, cache.Blob(file), overwrite: true);
                return;
            }

            moved(-file.Size);
            File.Delete(_path);

            // What an interrupted download left may be spoiled (a machine that lost power): then once more from the start.
            if (!resumed)
            {
                throw new HubException($"{file.Path} of {repository}: its {(file.IsSha256 ? "SHA-256" : "git SHA-1")} should be {file.Hash} and is {hash}. The file was removed; pull again, and if that does not help, the hub's copy or the way to it is at fault.");
            }
        }
    }

    /// <summary>Completes the file; says whether something of it was there before, and its hash.</summary>
    private async Task<(bool Resumed, string Hash)> FillAsync(CancellationToken cancellation)
    {
        using FileStream stream = Open();
        long present = stream.Length;
        bool resumed = present > 0;
        if (present > file.Size)
        {
            moved(-file.Size);
            stream.SetLength(0);
        }

        long best = stream.Length;
        for (int attempt = 1; stream.Length < file.Size; attempt++)
        {
            try
            {
                await ReadOnAsync(stream, cancellation).ConfigureAwait(false);
            }
            catch (Exception error) when (Retry.MayPass(error))
            {
                attempt = stream.Length > best ? 1 : attempt;
                best = Math.Max(best, stream.Length);
                await Retry.WaitAsync(options, $"{file.Path} of {repository}, at {stream.Length} of {file.Size} bytes", attempt, error, cancellation).ConfigureAwait(false);
            }
            catch (HubClient.RangeException)
            {
                StartOver(stream);
            }
        }

        stream.Flush(flushToDisk: true);
        return (resumed, await HashAsync(stream, cancellation).ConfigureAwait(false));
    }

    private FileStream Open()
    {
        try
        {
            return new FileStream(_path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.Asynchronous);
        }
        catch (IOException error) when (File.Exists(_path))
        {
            throw new HubException($"{_path} is in use: another pull of {repository} is at work. Wait for it to end, then pull again.", error);
        }
    }

    private async Task ReadOnAsync(FileStream stream, CancellationToken cancellation)
    {
        using HttpResponseMessage response = await client.OpenAsync(repository, commit, file.Path, stream.Length, cancellation).ConfigureAwait(false);
        if (stream.Length > 0 && response.StatusCode != HttpStatusCode.PartialContent)
        {
            StartOver(stream);
        }

        CheckLength(response, stream.Length);
        stream.Position = stream.Length;
        using Stream body = await response.Content.ReadAsStreamAsync(cancellation).ConfigureAwait(false);
        byte[] buffer = new byte[ChunkSize];
        while (await ReadAsync(body, buffer, cancellation).ConfigureAwait(false) is > 0 and int count)
        {
            if (stream.Length + count > file.Size)
            {
                throw LengthMismatch($"more than {file.Size} bytes arrive");
            }

            await stream.WriteAsync(buffer.AsMemory(0, count), cancellation).ConfigureAwait(false);
            moved(count);
        }

        if (stream.Length < file.Size)
        {
            throw new HttpIOException(HttpRequestError.ResponseEnded, $"the connection ended after {stream.Length} of {file.Size} bytes.");
        }
    }

    private async Task<int> ReadAsync(Stream body, byte[] buffer, CancellationToken cancellation)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        timeout.CancelAfter(options.StallTimeout);
        try
        {
            return await body.ReadAsync(buffer, timeout.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException error) when (!cancellation.IsCancellationRequested)
        {
            throw new HttpIOException(HttpRequestError.ResponseEnded, $"nothing arrived for {options.StallTimeout.TotalSeconds:0} s.", error);
        }
    }

    private void CheckLength(HttpResponseMessage response, long offset)
    {
        if (response.Content.Headers.ContentRange is { } range && (range.From != offset || (range.HasLength && range.Length != file.Size)))
        {
            throw LengthMismatch($"the answer to 'from byte {offset} on' is {range}");
        }

        if (response.Content.Headers.ContentLength is long length && length != file.Size - offset)
        {
            throw LengthMismatch($"the answer from byte {offset} on has {length} bytes instead of {file.Size - offset}");
        }
    }

    private HubException LengthMismatch(string found) =>
        new($"{file.Path} of {repository} is published with {file.Size} bytes, but {found}. The hub or something on the way to it is at fault; pull again later.");

    private void StartOver(FileStream stream)
    {
        moved(-stream.Length);
        stream.SetLength(0);
    }

    private async Task<string> HashAsync(FileStream stream, CancellationToken cancellation)
    {
        using var hash = new BlobHash(file);
        byte[] buffer = new byte[ChunkSize * 4];
        stream.Position = 0;
        while (await stream.ReadAsync(buffer, cancellation).ConfigureAwait(false) is > 0 and int count)
        {
            hash.Append(buffer.AsSpan(0, count));
        }

        return hash.Finish();
    }
}

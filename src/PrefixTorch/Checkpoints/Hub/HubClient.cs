using System.Globalization;
using System.Net.Http.Headers;
using System.Text.Json;

namespace PrefixTorch.Checkpoints.Hub;

/// <summary>
/// What a pull asks a hub: which files a revision has, what each is, and its bytes from some point on. Requests that fail
/// for a passing reason are made again. Safe from any thread.
/// </summary>
internal sealed class HubClient(HttpClient http, HubOptions options)
{
    private const int MaxRedirects = 8;

    /// <summary>A handler that leaves redirects to this class, which knows where the token may go.</summary>
    public static HttpMessageHandler CreateHandler() => new SocketsHttpHandler { AllowAutoRedirect = false, ConnectTimeout = TimeSpan.FromSeconds(30) };

    /// <summary>The commit that a revision is, and the paths of its files.</summary>
    public async Task<(string Commit, IReadOnlyList<string> Paths)> GetRevisionAsync(string repository, string revision, CancellationToken cancellation)
    {
        Uri address = Address($"api/models/{repository}/revision/{Uri.EscapeDataString(revision)}");
        string what = $"{repository} at revision {revision}";
        string text = await Retry.RunAsync(options, what, async token =>
        {
            using HttpResponseMessage response = await SendAsync(HttpMethod.Get, address, what, 0, leavesHost: true, token).ConfigureAwait(false);
            return await response.Content.ReadAsStringAsync(token).ConfigureAwait(false);
        }, cancellation).ConfigureAwait(false);
        try
        {
            JsonElement json = JsonElement.Parse(text);
            string? commit = json.GetProperty("sha").GetString();
            string[] paths = [.. json.GetProperty("siblings").EnumerateArray().Select(file => file.GetProperty("rfilename").GetString() ?? "")];
            foreach (string path in paths)
            {
                HubNames.CheckPath("file", path);
            }

            return HubNames.IsCommit(commit) ? (commit!, paths) : throw new HubException($"{address} answers with the commit '{commit}', which is no git commit. Check HF_ENDPOINT.");
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new HubException($"{address} does not answer as a hub does (a JSON object with 'sha' and 'siblings'). Check HF_ENDPOINT.", error);
        }
    }

    /// <summary>A file's size and published hash.</summary>
    public Task<HubFile> GetFileAsync(string repository, string commit, string path, CancellationToken cancellation) =>
        Retry.RunAsync(options, path, async token =>
        {
            // The hub's own answer says what the file is; where it redirects to need not know.
            using HttpResponseMessage response = await SendAsync(HttpMethod.Head, FileAddress(repository, commit, path), $"{path} of {repository}", 0, leavesHost: false, token).ConfigureAwait(false);
            string? hash = (Header(response, "X-Linked-Etag") ?? Header(response, "ETag"))?.Replace("W/", "", StringComparison.Ordinal).Trim('"');
            string? size = Header(response, "X-Linked-Size") ?? response.Content.Headers.ContentLength?.ToString(CultureInfo.InvariantCulture);
            if (!HubNames.IsHash(hash))
            {
                throw new HubException($"The hub publishes no checksum for {path} of {repository} (ETag '{hash}'), so it could not be checked. Check HF_ENDPOINT.");
            }

            return long.TryParse(size, out long bytes) && bytes >= 0 ? new HubFile(path, bytes, hash!) : throw new HubException($"The hub publishes no size for {path} of {repository} (found '{size}'). Check HF_ENDPOINT.");
        }, cancellation);

    /// <summary>A file's bytes from <paramref name="offset"/> on, as a response whose body is still to be read.</summary>
    public Task<HttpResponseMessage> OpenAsync(string repository, string commit, string path, long offset, CancellationToken cancellation) =>
        SendAsync(HttpMethod.Get, FileAddress(repository, commit, path), $"{path} of {repository}", offset, leavesHost: true, cancellation);

    private static string? Header(HttpResponseMessage response, string name) => response.Headers.TryGetValues(name, out IEnumerable<string>? values) ? values.First() : null;

    private Uri Address(string path) => new(options.Endpoint.AbsoluteUri.TrimEnd('/') + "/" + path);

    private Uri FileAddress(string repository, string commit, string path) =>
        Address($"{repository}/resolve/{commit}/{string.Join('/', path.Split('/').Select(Uri.EscapeDataString))}");

    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, Uri address, string what, long offset, bool leavesHost, CancellationToken cancellation)
    {
        for (int redirects = 0; ; redirects++)
        {
            using var request = new HttpRequestMessage(method, address);
            request.Headers.AcceptEncoding.Add(new StringWithQualityHeaderValue("identity"));
            request.Headers.UserAgent.Add(new ProductInfoHeaderValue("prefixtorch", "0.1"));
            if (offset > 0)
            {
                request.Headers.Range = new RangeHeaderValue(offset, null);
            }

            if (options.Token is not null && IsHub(address))
            {
                request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", options.Token);
            }

            HttpResponseMessage response = await SendOnceAsync(request, cancellation).ConfigureAwait(false);
            Uri? target = (int)response.StatusCode is >= 300 and < 400 ? response.Headers.Location : null;
            if (target is null)
            {
                return Check(response, what, address, offset);
            }

            target = new Uri(address, target);
            if (!leavesHost && !IsHub(target))
            {
                return response;
            }

            response.Dispose();
            address = redirects < MaxRedirects && target.Scheme is "http" or "https" ? target : throw new HubException($"{what}: {address} redirects to {target} after {redirects} redirects, which is not followed. Check HF_ENDPOINT.");
        }
    }

    private async Task<HttpResponseMessage> SendOnceAsync(HttpRequestMessage request, CancellationToken cancellation)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        timeout.CancelAfter(options.StallTimeout);
        try
        {
            return await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, timeout.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException error) when (!cancellation.IsCancellationRequested)
        {
            throw new HttpIOException(HttpRequestError.ResponseEnded, $"no answer within {options.StallTimeout.TotalSeconds:0} s", error);
        }
    }

    private bool IsHub(Uri address) => Uri.Compare(address, options.Endpoint, UriComponents.SchemeAndServer, UriFormat.Unescaped, StringComparison.OrdinalIgnoreCase) == 0;

    private HttpResponseMessage Check(HttpResponseMessage response, string what, Uri address, long offset)
    {
        if (response.IsSuccessStatusCode)
        {
            return response;
        }

        int status = (int)response.StatusCode;
        string code = Header(response, "X-Error-Code") is string said ? $" ({said})" : "";
        response.Dispose();
        throw status switch
        {
            401 or 403 => new HubException($"{what}: the hub refuses with {status}{code}. The repository is gated or private, or there is none of that name: open {options.Endpoint} in a browser, accept the model's terms, and set HF_TOKEN to a token that may read it ({(options.Token is null ? "none is set" : "the one that is set may not")})."),
            404 => new HubException($"{what}: the hub has no such thing: 404{code} at {address}. Check the repository's name and the revision."),
            408 or 429 or >= 500 => new HttpRequestException($"{status}{code}", null, response.StatusCode),
            416 when offset > 0 => new RangeException(),
            _ => new HubException($"{what}: the hub answers {status}{code} at {address}."),
        };
    }

    /// <summary>The hub does not have the bytes that were asked for: what is here is not the beginning of what it has.</summary>
    internal sealed class RangeException : IOException;
}

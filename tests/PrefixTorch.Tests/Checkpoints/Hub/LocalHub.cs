using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace PrefixTorch.Tests.Checkpoints.Hub;

/// <summary>What a test lets the local hub answer to one request; null leaves it to the hub.</summary>
internal sealed record Answer(int Status, byte[] Body, IReadOnlyList<string> Headers)
{
    /// <summary>The length that the answer claims; the body's own unless set.</summary>
    public long? ClaimedLength { get; init; }

    /// <summary>After how many bytes of the body the connection is cut.</summary>
    public int BreakAfter { get; init; } = int.MaxValue;
}

internal sealed record HubRequest(string Method, string Path, string Host, IReadOnlyDictionary<string, string> Headers)
{
    public long Offset => Headers.TryGetValue("range", out string? range) ? long.Parse(range["bytes=".Length..^1]) : 0;
}

/// <summary>A hub on this machine: small files as git has them, large ones (.safetensors) redirected to another host. Bounded: it ends with its test.</summary>
internal sealed class LocalHub : IDisposable
{
    public const string Commit = "0123456789abcdef0123456789abcdef01234567";

    private readonly TcpListener _hub = new(IPAddress.Loopback, 0);
    private readonly TcpListener _store = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _end = new(TimeSpan.FromMinutes(2));

    public LocalHub()
    {
        _hub.Start();
        _store.Start();
        _ = AcceptAsync(_hub);
        _ = AcceptAsync(_store);
    }

    public Dictionary<string, byte[]> Files { get; } = [];

    public ConcurrentQueue<HubRequest> Requests { get; } = [];

    /// <summary>Changes or replaces what the hub would answer.</summary>
    public Func<HubRequest, Answer, Answer> Behaviour { get; set; } = (_, answer) => answer;

    public Uri Endpoint => new($"http://{_hub.LocalEndpoint}");

    public string StoreHost => _store.LocalEndpoint.ToString()!;

    public static Answer Empty(int status, params string[] headers) => new(status, [], headers);

    [SuppressMessage("Security", "CA5350", Justification = "git names small files by SHA-1.")]
    public static string HashOf(string path, byte[] bytes) => path.EndsWith(".safetensors", StringComparison.Ordinal)
        ? Convert.ToHexStringLower(SHA256.HashData(bytes))
        : Convert.ToHexStringLower(SHA1.HashData([.. Encoding.ASCII.GetBytes($"blob {bytes.Length}\0"), .. bytes]));

    public void Dispose()
    {
        _end.Cancel();
        _hub.Dispose();
        _store.Dispose();
        _end.Dispose();
    }

    private async Task AcceptAsync(TcpListener listener)
    {
        try
        {
            while (true)
            {
                TcpClient client = await listener.AcceptTcpClientAsync(_end.Token);
                _ = ServeAsync(client);
            }
        }
        catch (Exception error) when (error is OperationCanceledException or SocketException or ObjectDisposedException)
        {
        }
    }

    private async Task ServeAsync(TcpClient client)
    {
        using (client)
        {
            try
            {
                NetworkStream stream = client.GetStream();
                if (await ReadRequestAsync(stream) is HubRequest request)
                {
                    Requests.Enqueue(request);
                    await WriteAsync(client, stream, request, Behaviour(request, Respond(request)));
                }
            }
            catch (Exception error) when (error is IOException or OperationCanceledException or SocketException or ObjectDisposedException)
            {
            }
        }
    }

    private async Task<HubRequest?> ReadRequestAsync(NetworkStream stream)
    {
        var text = new StringBuilder();
        byte[] one = new byte[1];
        while (!text.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            if (await stream.ReadAsync(one, _end.Token) == 0)
            {
                return null;
            }

            text.Append((char)one[0]);
        }

        string[] lines = text.ToString().Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        Dictionary<string, string> headers = lines[1..].Select(line => line.Split(": ", 2)).ToDictionary(parts => parts[0].ToLowerInvariant(), parts => parts[1]);
        return new HubRequest(lines[0].Split(' ')[0], lines[0].Split(' ')[1], headers["host"], headers);
    }

    private Answer Respond(HubRequest request)
    {
        string marker = $"/resolve/{Commit}/";
        if (request.Path.StartsWith("/api/models/", StringComparison.Ordinal))
        {
            var json = new { sha = Commit, siblings = Files.Keys.Select(path => new { rfilename = path }) };
            return new Answer(200, JsonSerializer.SerializeToUtf8Bytes(json), []);
        }

        bool isStore = request.Host == StoreHost;
        int at = request.Path.IndexOf(marker, StringComparison.Ordinal);
        string path = isStore ? request.Path[1..] : at < 0 ? "" : request.Path[(at + marker.Length)..];
        if (!Files.TryGetValue(path, out byte[]? bytes))
        {
            return Empty(404, "X-Error-Code: EntryNotFound");
        }

        if (!isStore && path.EndsWith(".safetensors", StringComparison.Ordinal))
        {
            return Empty(302, $"Location: http://{StoreHost}/{path}", $"X-Linked-Etag: \"{HashOf(path, bytes)}\"", $"X-Linked-Size: {bytes.Length}", $"X-Repo-Commit: {Commit}");
        }

        int offset = (int)request.Offset;
        List<string> headers = [$"ETag: \"{HashOf(path, bytes)}\""];
        if (offset == 0)
        {
            return new Answer(200, bytes, headers);
        }

        headers.Add($"Content-Range: bytes {offset}-{bytes.Length - 1}/{bytes.Length}");
        return new Answer(206, bytes[offset..], headers);
    }

    private async Task WriteAsync(TcpClient client, NetworkStream stream, HubRequest request, Answer answer)
    {
        string head = $"HTTP/1.1 {answer.Status} Status\r\nConnection: close\r\nContent-Length: {answer.ClaimedLength ?? answer.Body.Length}\r\n"
            + string.Concat(answer.Headers.Select(header => header + "\r\n")) + "\r\n";
        await stream.WriteAsync(Encoding.ASCII.GetBytes(head), _end.Token);
        if (request.Method == "HEAD")
        {
            return;
        }

        int length = Math.Min(answer.BreakAfter, answer.Body.Length);
        for (int start = 0; start < length; start += 4096)
        {
            await stream.WriteAsync(answer.Body.AsMemory(start, Math.Min(4096, length - start)), _end.Token);
        }

        if (answer.BreakAfter < answer.Body.Length)
        {
            // Let what was sent arrive, then break off.
            await stream.FlushAsync(_end.Token);
            client.Client.Shutdown(SocketShutdown.Send);
        }
    }
}

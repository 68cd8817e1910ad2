namespace PrefixTorch.Checkpoints.Hub;

/// <summary>Does something again that failed for a reason that may pass: a broken connection, a busy server.</summary>
internal static class Retry
{
    public static bool MayPass(Exception error) => error is HttpRequestException or HttpIOException or System.Net.Sockets.SocketException or IOException { InnerException: System.Net.Sockets.SocketException };

    public static async Task<T> RunAsync<T>(HubOptions options, string what, Func<CancellationToken, Task<T>> work, CancellationToken cancellation)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return await work(cancellation).ConfigureAwait(false);
            }
            catch (Exception error) when (MayPass(error))
            {
                await WaitAsync(options, what, attempt, error, cancellation).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Waits before the next attempt, or gives up after the last.</summary>
    public static Task WaitAsync(HubOptions options, string what, int attempt, Exception error, CancellationToken cancellation)
    {
        if (attempt >= options.Attempts)
        {
            throw new HubException($"{what}: {options.Endpoint} failed {attempt} times in a row, last with: {error.Message.TrimEnd('.')}. What arrived is kept; pull again to go on.", error);
        }

        return Task.Delay(options.RetryDelay * (1 << Math.Min(attempt - 1, 5)), cancellation);
    }
}

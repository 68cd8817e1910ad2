using System.Threading.Channels;

namespace PrefixTorch.Generation;

/// <summary>
/// Carries reports from the engine thread to the caller's side, where a callback may take its time, wait for other calls, or dispose the model.
/// </summary>
/// <param name="progress">The caller's.</param>
internal sealed class ProgressRelay(IProgress<PrefillProgress> progress)
{
    // One report: to a callback that comes late, the older ones are no news.
    private readonly Channel<PrefillProgress> _latest = Channel.CreateBounded<PrefillProgress>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true, SingleWriter = true });

    /// <summary>Takes a report; on the engine thread.</summary>
    public void Report(PrefillProgress value) => _latest.Writer.TryWrite(value);

    /// <summary>Tells the callback, one report after another, until it knows the last; throws what it throws.</summary>
    /// <param name="reading">Ends when no report follows.</param>
    public async Task DeliverAsync(Task reading)
    {
        _ = reading.ContinueWith(_ => _latest.Writer.TryComplete(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);

        // Never on the thread that made the call and has no task of it yet.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        await foreach (PrefillProgress report in _latest.Reader.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
        {
            progress.Report(report);
        }
    }
}

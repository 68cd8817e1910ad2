using PrefixTorch.Checkpoints.Hub;
using Spectre.Console;

namespace PrefixTorch.Cli.Outputs;

/// <summary>How far a pull is, as a bar on standard error: bytes, speed, and the time that is left. It appears with the first bytes.</summary>
internal sealed class PullBar(Output output, string repository) : IProgress<PullProgress>, IAsyncDisposable
{
    private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private Task? _shown;
    private ProgressTask? _bar;

    public void Report(PullProgress value)
    {
        lock (_gate)
        {
            if (output.ShowsProgress && !_end.Task.IsCompleted)
            {
                _shown ??= Task.Run(() => ShowAsync(value));
            }
        }

        if (_bar is { } bar)
        {
            bar.Value = value.Bytes;
        }
    }

    /// <summary>Takes the bar away.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _end.TrySetResult();
        }

        await (_shown ?? Task.CompletedTask).ConfigureAwait(false);
    }

    private Task ShowAsync(PullProgress first) => output.Progress.Console.Progress()
        .AutoClear(true)
        .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new DownloadedColumn(), new TransferSpeedColumn(), new RemainingTimeColumn())
        .StartAsync(context =>
        {
            ProgressTask bar = context.AddTask(Markup.Escape(repository), maxValue: first.TotalBytes);
            bar.Value = first.Bytes;
            _bar = bar;
            return _end.Task;
        });
}

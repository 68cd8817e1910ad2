using PrefixTorch.Generation;
using Spectre.Console;

namespace PrefixTorch.Cli.Outputs;

/// <summary>
/// How far a prompt has been read, as a bar on standard error. It appears with the first chunk of several and goes with the last: a
/// short prompt shows none, and text that follows has the terminal for itself.
/// </summary>
internal sealed class PrefillBar(Output output) : IProgress<PrefillProgress>, IDisposable
{
    private readonly TaskCompletionSource _read = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private Task? _shown;
    private ProgressTask? _bar;

    public void Report(PrefillProgress value)
    {
        if (value.Done >= value.Total)
        {
            Dispose();
            return;
        }

        lock (_gate)
        {
            if (output.ShowsProgress && !_read.Task.IsCompleted)
            {
                _shown ??= Task.Run(() => ShowAsync(value));
            }
        }

        if (_bar is not null)
        {
            _bar.Value = value.Done;
        }
    }

    /// <summary>Takes the bar away. May be called again.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _read.TrySetResult();
        }

        _shown?.GetAwaiter().GetResult();
    }

    private Task ShowAsync(PrefillProgress first) => output.Progress.Console.Progress()
        .AutoClear(true)
        .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
        .StartAsync(context =>
        {
            ProgressTask bar = context.AddTask("reading", maxValue: first.Total);
            bar.Value = first.Done;
            _bar = bar;
            return _read.Task;
        });
}

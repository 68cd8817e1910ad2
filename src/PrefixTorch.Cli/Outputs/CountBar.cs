using Spectre.Console;

namespace PrefixTorch.Cli.Outputs;

/// <summary>
/// How many of something are done, as a bar on standard error. It appears with the first report of work that is not over and goes with the
/// last: what is short shows none, and text that follows has the terminal for itself.
/// </summary>
/// <param name="output">Where to.</param>
/// <param name="what">What is being done.</param>
internal abstract class CountBar(Output output, string what) : IDisposable
{
    private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private Task? _shown;
    private ProgressTask? _bar;

    /// <summary>Takes the bar away. May be called again.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _end.TrySetResult();
        }

        _shown?.GetAwaiter().GetResult();
    }

    /// <summary>Shows that so many of so many are done.</summary>
    protected void Show(int done, int total)
    {
        if (done >= total)
        {
            Dispose();
            return;
        }

        lock (_gate)
        {
            if (output.ShowsProgress && !_end.Task.IsCompleted)
            {
                _shown ??= Task.Run(() => ShowAsync(done, total));
            }
        }

        if (_bar is not null)
        {
            _bar.Value = done;
        }
    }

    private Task ShowAsync(int done, int total) => output.Progress.Console.Progress()
        .AutoClear(true)
        .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
        .StartAsync(context =>
        {
            ProgressTask bar = context.AddTask(what, maxValue: total);
            bar.Value = done;
            _bar = bar;
            return _end.Task;
        });
}

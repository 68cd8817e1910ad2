using PrefixTorch.Generation;
using Spectre.Console;

namespace PrefixTorch.Cli.Outputs;

/// <summary>How far a prompt has been read, as a bar on standard error.</summary>
internal static class PrefillBar
{
    /// <summary>Runs something that reads a prompt, and shows how far it is.</summary>
    public static async Task<T> WatchAsync<T>(Output output, Func<IProgress<PrefillProgress>?, Task<T>> read)
    {
        if (!output.ShowsProgress)
        {
            return await read(null).ConfigureAwait(false);
        }

        return await output.Progress.Console.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .StartAsync(context => read(new Watcher(context.AddTask("reading")))).ConfigureAwait(false);
    }

    private sealed class Watcher(ProgressTask task) : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value)
        {
            task.MaxValue = Math.Max(1, value.Total);
            task.Value = value.Done;
        }
    }
}

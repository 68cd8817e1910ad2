using System.Diagnostics;

namespace PrefixTorch.Cli.Bench;

/// <summary>Repetitions of one thing: the median counts, the others say how far to believe it.</summary>
internal sealed record Measured(double Median, double Least, double Most)
{
    /// <summary>Measures the same thing several times.</summary>
    public static async Task<Measured> RepeatAsync(int repetitions, Func<Task<double>> measure)
    {
        var values = new double[repetitions];
        for (int i = 0; i < repetitions; i++)
        {
            values[i] = await measure().ConfigureAwait(false);
        }

        return Of(values);
    }

    /// <summary>Measures the seconds that something takes, several times.</summary>
    public static Measured Seconds(int repetitions, Action action) => Of([.. Enumerable.Range(0, repetitions).Select(_ =>
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    })]);

    /// <summary>From values in any order.</summary>
    public static Measured Of(double[] values)
    {
        double[] sorted = [.. values.Order()];
        int middle = sorted.Length / 2;
        return new Measured(sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2, sorted[0], sorted[^1]);
    }
}

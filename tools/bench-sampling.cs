#:project ../src/PrefixTorch
#:property PublishAot=false
#:property Optimize=true

// What choosing a token costs beside the model's own work: rows of 128,256 scores, as a step of sixteen branches has them.
//
//     dotnet run -c Release tools/bench-sampling.cs
//
// Prints one JSON line for each way to choose and each kind of row: milliseconds for all rows of a step, one row after another on one thread, and
// shared out over all processors as the engine does; medians over repetitions, the samplers warm.

using System.Diagnostics;
using System.Globalization;
using PrefixTorch.Sampling;

if (args.Length > 0)
{
    Console.Error.WriteLine("bench-sampling takes no arguments: dotnet run -c Release tools/bench-sampling.cs. It prints a JSON line for each way to choose, and takes a minute.");
    return args is ["--help"] or ["-h"] ? 0 : 2;
}

const int Branches = 16, Vocabulary = 128256, Repetitions = 15;

(string Name, SamplingOptions Options)[] ways =
[
    ("greedy", new() { Greedy = true }),
    ("temperature 0.6", new() { Seed = 1, Temperature = 0.6f }),
    ("temperature 0.6, top-p 0.9", new() { Seed = 1, Temperature = 0.6f, TopP = 0.9f }),
    ("top-k 50", new() { Seed = 1, TopK = 50 }),
    ("top-k 20000", new() { Seed = 1, TopK = 20000 }),
    ("min-p 0.05", new() { Seed = 1, MinP = 0.05f }),
    ("typical-p 0.9", new() { Seed = 1, TypicalP = 0.9f }),
];

foreach ((string kind, float spread) in new[] { ("flat", 1f), ("peaked", 4f) })
{
    float[][] rows = [.. Enumerable.Range(0, Branches).Select(branch => Row(branch, spread))];
    foreach ((string name, SamplingOptions options) in ways)
    {
        Sampler[] samplers = [.. Enumerable.Range(0, Branches).Select(branch => new Sampler(options, branch))];
        double one = Median(() =>
        {
            for (int i = 0; i < Branches; i++)
            {
                samplers[i].Sample(rows[i], [], 0, 0);
            }
        });
        double all = Median(() => Parallel.For(0, Branches, i => samplers[i].Sample(rows[i], [], 0, 0)));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $$"""{"bench":"choose","rows":"{{kind}}","how":"{{name}}","branches":{{Branches}},"vocabulary":{{Vocabulary}},"one_thread_ms":{{one:F2}},"all_threads_ms":{{all:F2}}}"""));
    }
}

return 0;

// Scores that are normally distributed: as random weights give them, or with a few that stand out, as a trained model's do.
static float[] Row(int seed, float spread)
{
    var random = new Random(seed);
    return [.. Enumerable.Range(0, Vocabulary).Select(_ => spread * (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
}

static double Median(Action action)
{
    double[] times = [.. Enumerable.Range(0, Repetitions + 5).Select(_ =>
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }).Skip(5).Order()];
    return times[times.Length / 2];
}

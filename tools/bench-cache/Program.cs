// Speed of the cache as a value and of its file, on caches of a model's shape that no model made:
//   dotnet run -c Release --project tools/bench-cache [folder for the files]
// Prints one JSON line per figure, medians over repetitions.
using System.Diagnostics;
using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Memory;

string folder = args.Length > 0 ? args[0] : Directory.CreateTempSubdirectory("prefixtorch-bench-").FullName;
Directory.CreateDirectory(folder);
string path = Path.Combine(folder, "bench.safetensors");

var eightB = new ShapeHost(new KvLayout(32, 8, 128, DType.BFloat16), 1024);
using (KvCache large = eightB.Fill(32768, write: false))
{
    Value("clone", 32768, () => large.Clone(), clone => clone.Dispose());
    KvCache? cut = null;
    Value(
        "truncate",
        32768,
        () =>
        {
            cut!.Truncate(20000);
            return 0;
        },
        _ => { },
        before: () =>
    {
        cut?.Dispose();
        cut = large.Clone();
    });
    cut?.Dispose();
}

var oneB = new ShapeHost(new KvLayout(16, 8, 64, DType.BFloat16), 128256);
using (KvCache cache = oneB.Fill(2048, write: true))
{
    Timed("state_save", 41, () => cache.Save(path, new() { FlushToDisk = false }));
    Timed("state_save_fsync", 9, () => cache.Save(path));
    cache.Save(path, new() { FlushToDisk = false });
    Timed("state_restore", 81, () => KvCache.Load(path, oneB).Dispose());
    Timed("state_restore_trusted", 81, () => KvCache.Load(path, oneB, new() { Trust = true }).Dispose());
    string small = Path.Combine(folder, "bench-int8.safetensors");
    Timed("state_save_int8", 9, () => cache.Save(small, new() { FlushToDisk = false, Quantization = KvQuantization.Int8 }), small);
    Timed("state_restore_int8", 21, () => KvCache.Load(small, oneB).Dispose(), small);
    File.Delete(small);
}

File.Delete(path);

void Timed(string name, int repetitions, Action action, string? file = null)
{
    // What the first call in a process takes, compiling included, and what a warm one does.
    double first = Seconds(action);
    for (int i = 0; i < 3; i++)
    {
        action();
    }

    double[] seconds = [.. Enumerable.Range(0, repetitions).Select(_ => Seconds(action)).Order()];
    double median = seconds[repetitions / 2];
    long bytes = new FileInfo(file ?? path).Length;
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $$"""{"bench":"{{name}}","n":2048,"bytes":{{bytes}},"median_s":{{median:F6}},"min_s":{{seconds[0]:F6}},"max_s":{{seconds[^1]:F6}},"first_s":{{first:F6}},"GBps":{{bytes / median / 1e9:F2}}}"""));
}

void Value<T>(string name, int n, Func<T> action, Action<T> after, Action? before = null) => Measure(name, n, () =>
{
    before?.Invoke();
    long allocated = GC.GetAllocatedBytesForCurrentThread(), start = Stopwatch.GetTimestamp();
    T made = action();
    double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
    allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
    after(made);
    return (seconds, allocated);
});

static void Measure(string name, int n, Func<(double Seconds, long Bytes)> once)
{
    for (int i = 0; i < 2000; i++)
    {
        once();
    }

    (double Seconds, long Bytes)[] all = [.. Enumerable.Range(0, 2001).Select(_ => once()).OrderBy(one => one.Seconds)];
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $$"""{"bench":"{{name}}","n":{{n}},"median_s":{{all[1000].Seconds:F9}},"max_s":{{all[^1].Seconds:F9}},"bytes":{{all[1000].Bytes}}}"""));
}

static double Seconds(Action action)
{
    long start = Stopwatch.GetTimestamp();
    action();
    return Stopwatch.GetElapsedTime(start).TotalSeconds;
}

/// <summary>Stands for a model of a shape.</summary>
internal sealed unsafe class ShapeHost(KvLayout layout, int vocabulary) : IKvCacheHost
{
    KvIdentity IKvCacheHost.Identity { get; } = new("shape", "0", "0", "0");

    KvLayout IKvCacheHost.Layout => layout;

    bool IKvCacheHost.IsOnHost => true;

    int IKvCacheHost.VocabSize => vocabulary;

    int IKvCacheHost.MaxPositionEmbeddings => 131072;

    IReadOnlyList<string> IKvCacheHost.StatePath => [];

    string? IKvCacheHost.Decode(int[] ids) => null;

    KvBuffer IKvCacheHost.Allocate(int capacity, bool fills) => new HostKvBuffer(layout, capacity, fills);

    void IKvCacheHost.Evaluate(KvCache cache) => throw new NotSupportedException();

    /// <summary>A cache of so many tokens, read in chunks of 512; its keys and values are noise, or untouched memory.</summary>
    public KvCache Fill(int tokens, bool write)
    {
        var cache = new KvCache(this);
        var random = new Random(1);
        for (int done = 0; done < tokens; done += 512)
        {
            using KvAppend append = cache.BeginAppend([.. Enumerable.Range(done, 512).Select(id => id % vocabulary)], new TokenOrigin[512], tokens - done - 512);
            append.Commit(new float[vocabulary]);
            foreach (KvSegment segment in write ? append.Added : [])
            {
                for (int row = 0; row < layout.Layers * layout.KeyValueHeads; row++)
                {
                    int bytes = segment.Length * layout.HeadDim * 2;
                    random.NextBytes(new Span<byte>(segment.Buffer.Keys(row / layout.KeyValueHeads, row % layout.KeyValueHeads, segment.Start), bytes));
                    random.NextBytes(new Span<byte>(segment.Buffer.Values(row / layout.KeyValueHeads, row % layout.KeyValueHeads, segment.Start), bytes));

                    // Half to two, of either sign: what is smaller than any number of a model may take its own time.
                    for (int i = 1; i < bytes; i += 2)
                    {
                        Ordinary(ref segment.Buffer.Keys(row / layout.KeyValueHeads, row % layout.KeyValueHeads, segment.Start)[i]);
                        Ordinary(ref segment.Buffer.Values(row / layout.KeyValueHeads, row % layout.KeyValueHeads, segment.Start)[i]);
                    }
                }
            }
        }

        return cache;
    }

    private static void Ordinary(ref byte upper) => upper = (byte)((upper & 0x80) | 0x3f);
}

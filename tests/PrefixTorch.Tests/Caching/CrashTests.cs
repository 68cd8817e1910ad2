using System.Diagnostics;
using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Checkpoints;

namespace PrefixTorch.Tests.Caching;

/// <summary>Killed at any byte, the old file or the new one is there, never half of one.</summary>
public sealed class CrashTests
{
    private const string FolderVariable = "PREFIXTORCH_CRASH_FOLDER";
    private const int Tokens = 200;

    private static readonly KvLayout s_layout = new(8, 8, 64, DType.BFloat16);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ProcessThatIsKilledWhileItSavesLeavesAReadableFile()
    {
        int kills = int.TryParse(Environment.GetEnvironmentVariable("PREFIXTORCH_KILLS"), CultureInfo.InvariantCulture, out int asked) ? asked : 6;
        var random = new Random(3);
        using var folder = new TemporaryFolder();
        string path = folder.File("state");
        HashSet<int> found = [];
        for (int i = 0; i < kills; i++)
        {
            DateTime before = File.Exists(path) ? File.GetLastWriteTimeUtc(path) : DateTime.MinValue;
            using (Process child = Start(folder.Path))
            {
                while (!child.HasExited && (!File.Exists(path) || File.GetLastWriteTimeUtc(path) == before))
                {
                    await Task.Delay(2, Cancellation);
                }

                await Task.Delay(random.Next(60), Cancellation);
                Assert.False(child.HasExited, "The child is to be killed, and had ended.");
                child.Kill();
                await child.WaitForExitAsync(Cancellation);
            }

            using var restored = KvCache.Load(path, Host());
            Assert.Equal(Tokens, restored.Length);
            int id = Assert.Single(restored.Tokens.Distinct());
            Assert.All(KvRows.Floats(restored.Segments, 7, s_layout, keys: true), number => Assert.Equal(id, number));
            found.Add(id);
        }

        Assert.All(found, id => Assert.InRange(id, 1, 2));
    }

    [Fact]
    public void ChildSavesUntilItIsKilled()
    {
        string? folder = Environment.GetEnvironmentVariable(FolderVariable);
        Assert.SkipWhen(folder is null, $"Run by {nameof(ProcessThatIsKilledWhileItSavesLeavesAReadableFile)}, as another process.");
        using KvCache one = Filled(1), two = Filled(2);
        while (true)
        {
            one.Save(Path.Combine(folder, "state"), new() { FlushToDisk = false });
            two.Save(Path.Combine(folder, "state"), new() { FlushToDisk = false });
        }
    }

    private static ShapeHost Host() => new(new KvIdentity("crash", "0", "0", "0"), s_layout);

    private static unsafe KvCache Filled(int id)
    {
        var cache = new KvCache(Host());
        int[] ids = [.. Enumerable.Repeat(id, Tokens)];
        using KvAppend append = cache.BeginAppend(ids, new TokenOrigin[Tokens]);
        KvBuffer buffer = append.Added[0].Buffer;
        for (int layer = 0; layer < s_layout.Layers; layer++)
        {
            for (int head = 0; head < s_layout.KeyValueHeads; head++)
            {
                ushort number = (ushort)(BitConverter.SingleToUInt32Bits(id) >> 16);
                new Span<ushort>(buffer.Keys(layer, head, 0), Tokens * s_layout.HeadDim).Fill(number);
                new Span<ushort>(buffer.Values(layer, head, 0), Tokens * s_layout.HeadDim).Fill(number);
            }
        }

        append.Commit(null);
        return cache;
    }

    private static Process Start(string folder)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "PrefixTorch.Tests" + (OperatingSystem.IsWindows() ? ".exe" : ""));
        var start = new ProcessStartInfo(program, ["--filter-method", $"{typeof(CrashTests).FullName}.{nameof(ChildSavesUntilItIsKilled)}"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment[FolderVariable] = folder;
        foreach (string name in start.Environment.Keys.Where(name => name.StartsWith("TESTINGPLATFORM_", StringComparison.OrdinalIgnoreCase) || name.StartsWith("DOTNET_TEST", StringComparison.OrdinalIgnoreCase)).ToArray())
        {
            start.Environment.Remove(name);
        }

        Process child = Process.Start(start)!;
        child.BeginOutputReadLine();
        child.BeginErrorReadLine();
        return child;
    }
}

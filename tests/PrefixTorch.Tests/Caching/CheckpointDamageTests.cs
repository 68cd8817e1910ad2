using PrefixTorch.Caching;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Checkpoints;
using PrefixTorch.Tests.Parity;

namespace PrefixTorch.Tests.Caching;

/// <summary>Whatever became of a checkpoint's header: it is refused by an exception of ours and let go, or it runs. Counts what is alive: nothing runs beside it.</summary>
[Collection(nameof(AloneCollection))]
public sealed class CheckpointDamageTests
{
    [Fact]
    public void MutatedCheckpointsAreRefusedOrRun()
    {
        // The header is where a checkpoint can be wrong: its numbers are anybody's.
        int count = Mutations.Count("PREFIXTORCH_FUZZ", 300) / 2;
        using var folder = new TemporaryFolder();
        string weights = folder.File("model.safetensors");
        File.Copy(Path.Combine(Golden.Checkpoint("mqa"), "config.json"), folder.File("config.json"));
        byte[] original = File.ReadAllBytes(Path.Combine(Golden.Checkpoint("mqa"), "model.safetensors"));
        int header = 8 + BitConverter.ToInt32(original);
        var random = new Random(13);
        int refused = 0, blocks = NativeBlock.LiveCount;
        for (int i = 0; i < count; i++)
        {
            byte[] mutated = [.. Mutations.Mutate(original[..header], random), .. original.AsSpan(header)];
            File.WriteAllBytes(weights, mutated);
            try
            {
                using var model = new TestModel(folder.Path, "portable");
                using var cache = new KvCache(model);
                Assert.Equal(model.Config.VocabSize, model.Append(cache, [5, 9, 200, 31, 7]).Length);
            }
            catch (PrefixTorchException)
            {
                refused++;
            }

            Assert.Equal(blocks, NativeBlock.LiveCount);
        }

        Assert.InRange(refused, count * 8 / 10, count);
    }
}

using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Checkpoints;

public sealed class CheckpointFingerprintTests : IDisposable
{
    private const int Large = 1_000_000;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void ItIs32HexDigitsAndStaysTheSame()
    {
        string fingerprint = OfFolder(Repository.TinyTolstoy);
        Assert.Matches("^[0-9a-f]{32}$", fingerprint);
        Assert.Equal(fingerprint, OfFolder(Repository.TinyTolstoy));
    }

    [Fact]
    public void ShardsAndTheirOrderMakeNoDifference()
    {
        TensorToWrite a = Tensor("a", Large), b = Tensor("b", 10), c = Tensor("c", 40_000);
        string one = Of(a, b, c);
        Assert.Equal(one, Of(c, a, b));

        SafetensorsWriter.Write(_folder.File("s2.safetensors"), [a, c]);
        SafetensorsWriter.Write(_folder.File("s1.safetensors"), [b], new Dictionary<string, string> { ["format"] = "pt" });
        File.Delete(_folder.File("model.safetensors"));
        File.WriteAllText(_folder.File("model.safetensors.index.json"), """{"weight_map":{"c":"s2.safetensors","b":"s1.safetensors","a":"s2.safetensors"}}""");
        Assert.Equal(one, OfFolder(_folder.Path));
    }

    [Fact]
    public void NameDTypeAndShapeMakeADifference()
    {
        string[] fingerprints =
        [
            Of(Tensor("a", 8)),
            Of(Tensor("b", 8)),
            Of(Tensor("a", 8) with { DType = DType.Int8 }),
            Of(Tensor("a", 8) with { Shape = [8, 1] }),
            Of(Tensor("a", 8) with { Shape = [2, 4] }),
            Of(Tensor("a", 9)),
            Of(Tensor("a", 8), Tensor("e", 0)),
        ];
        Assert.Equal(fingerprints.Length, fingerprints.Distinct().Count());
    }

    [Fact]
    public void ASmallTensorIsReadWhole()
    {
        string before = Of(Tensor("a", 32_768));
        for (int position = 0; position < 32_768; position += 997)
        {
            Assert.NotEqual(before, Of(Tensor("a", 32_768, position)));
        }
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(4095, true)]
    [InlineData(Large / 2, false)]
    [InlineData(Large - 4096, true)]
    [InlineData(Large - 1, true)]
    public void ALargeTensorIsSampledFromItsFirstByteToItsLast(int position, bool seen) =>
        Assert.Equal(seen, Of(Tensor("a", Large)) != Of(Tensor("a", Large, position)));

    [Fact]
    public void AFineTuneIsNotTheOriginal() =>
        Assert.NotEqual(OfFolder(Repository.Fixture("goldens", "llama31-gqa")), OfFolder(Repository.Fixture("goldens", "mqa")));

    private static TensorToWrite Tensor(string name, int byteCount, int changed = -1)
    {
        var bytes = new byte[byteCount];
        new Random(byteCount).NextBytes(bytes);
        if (changed >= 0)
        {
            bytes[changed] ^= 1;
        }

        return new TensorToWrite(name, DType.UInt8, [byteCount], bytes);
    }

    private string Of(params TensorToWrite[] tensors)
    {
        SafetensorsWriter.Write(_folder.File("model.safetensors"), tensors, options: new() { FlushToDisk = false });
        return OfFolder(_folder.Path);
    }

    private static string OfFolder(string folder)
    {
        using var checkpoint = Checkpoint.Open(folder);
        return CheckpointFingerprint.Compute(checkpoint);
    }
}

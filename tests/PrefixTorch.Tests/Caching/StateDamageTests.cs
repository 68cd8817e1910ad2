using System.Globalization;
using System.Text;
using PrefixTorch.Caching;
using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Checkpoints;
using PrefixTorch.Tests.Parity;

namespace PrefixTorch.Tests.Caching;

/// <summary>Files of numbers as they are.</summary>
public sealed class StateDamageTests() : StateDamage(DType.Float32);

/// <summary>Files of 8-bit numbers and their scales.</summary>
public sealed class EightBitStateDamageTests() : StateDamage(DType.Int8);

/// <summary>Whatever became of a file: it is refused by an exception of ours, or what is read from it is right.</summary>
public abstract class StateDamage : IDisposable
{
    private static readonly int[] s_ids = [5, 9, 200, 31, 7];
    private static readonly string[] s_keys = ["parent", "parent_digest", "parent_length", "seed", "branch", "prompt_length", "quantization", "name", "quantization_error"];
    private static readonly string[] s_values = ["", "0", "1", "5", "6", "-1", "2147483647", "9999999999999", "int8", "F32", "F16", "BF16", "I8", "I64", "x", "../state", "NaN", "2"];

    private readonly TestModel _model;
    private readonly TemporaryFolder _folder = new();
    private readonly byte[] _file;
    private readonly float[] _next;

    protected StateDamage(DType kvDType)
    {
        _model = new TestModel(Golden.Checkpoint("mqa"), "portable", kvDType: kvDType);
        using var cache = new KvCache(_model);
        _model.Append(cache, s_ids);
        cache.Run = new KvRun(3, 1, 2);
        cache.Name = "damaged";
        cache.Save(_folder.File("state"), new() { FlushToDisk = false });
        _file = File.ReadAllBytes(_folder.File("state"));
        _next = _model.Append(cache, [11]);
    }

    [Fact]
    public void EveryByteThatIsFlippedIsNoticedOrDoesNotMatter()
    {
        byte[] bytes = [.. _file];
        int refused = 0;
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] ^= (byte)(1 << i % 8);
            refused += IsRefused(bytes, new()) ? 1 : 0;
            bytes[i] ^= (byte)(1 << i % 8);
        }

        Assert.False(IsRefused(bytes, new()));
        Assert.InRange(refused, bytes.Length - 16, bytes.Length);
    }

    [Fact]
    public void FileThatIsCutAnywhereIsRefused()
    {
        for (int length = 0; length < _file.Length; length += length < 6000 ? 97 : 501)
        {
            Assert.True(IsRefused(_file[..length], new()), $"cut to {length} of {_file.Length} bytes");
            Assert.True(IsRefused(_file[..length], new() { Trust = true }), $"cut to {length} of {_file.Length} bytes, trusted");
        }
    }

    [Fact]
    public void TrustStillNoticesDamagedIdsAndHeader()
    {
        using var file = SafetensorsFile.Open(_folder.File("state"));
        long ids = file["input_ids"].Offset, key = file["key.1"].Offset;
        byte[] bytes = [.. _file];
        bytes[ids] ^= 1;
        Assert.True(IsRefused(bytes, new() { Trust = true }));
        bytes[ids] ^= 1;
        int name = Encoding.UTF8.GetString(bytes, 0, (int)file["input_ids"].Offset).IndexOf("damaged", StringComparison.Ordinal);
        bytes[name] ^= 1;
        Assert.True(IsRefused(bytes, new() { Trust = true }));
        bytes[name] ^= 1;
        bytes[key] ^= 1;
        Assert.True(IsRefused(bytes, new()));
        File.WriteAllBytes(_folder.File("trusted"), bytes);
        using var trusted = KvCache.Load(_folder.File("trusted"), _model, new() { Trust = true });
        Assert.Equal(s_ids, trusted.Tokens);
    }

    [Fact]
    public void ForgedStatesAreRefusedOrHarmless()
    {
        // Mutations that keep every checksum right: what a hostile writer would send. PREFIXTORCH_FUZZ asks for more of them.
        int count = Mutations.Count("PREFIXTORCH_FUZZ", 1500);
        var random = new Random(11);
        int loaded = 0;
        for (int i = 0; i < count; i++)
        {
            Forge(random);
            loaded += IsRefused(File.ReadAllBytes(_folder.File("forged")), new() { Trust = i % 2 == 0 }, sameResult: false) ? 0 : 1;
        }

        Assert.InRange(loaded, count / 100, count * 9 / 10);
    }

    [Fact]
    public void MutatedStatesAreRefusedOrRight()
    {
        int count = Mutations.Count("PREFIXTORCH_FUZZ", 3000);
        var random = new Random(12);
        int refused = 0;
        for (int i = 0; i < count; i++)
        {
            refused += IsRefused(Mutations.Mutate(_file, random), new()) ? 1 : 0;
        }

        Assert.InRange(refused, count * 8 / 10, count);
    }

    public void Dispose()
    {
        GC.SuppressFinalize(this);
        _model.Dispose();
        _folder.Dispose();
    }

    private bool IsRefused(byte[] bytes, KvLoadOptions options, bool sameResult = true)
    {
        string path = _folder.File("damaged");
        File.WriteAllBytes(path, bytes);
        try
        {
            using var cache = KvCache.Load(path, _model, options);
            if (sameResult)
            {
                Assert.Equal(s_ids, cache.Tokens);
                Assert.Equal(_next, _model.Append(cache, [11]));
            }
            else if (cache.Length < _model.Config.MaxPositionEmbeddings)
            {
                Assert.Equal(_model.Config.VocabSize, _model.Append(cache, [11]).Length);
            }

            return false;
        }
        catch (PrefixTorchException e)
        {
            Assert.StartsWith(path, e.Message, StringComparison.Ordinal);
            return true;
        }
    }

    private void Forge(Random random)
    {
        using var file = SafetensorsFile.Open(_folder.File("state"));
        var metadata = file.Metadata.Where(pair => !pair.Key.StartsWith(SafetensorsWriteOptions.ChecksumPrefix, StringComparison.Ordinal) && pair.Key != "metadata_xxh3").ToDictionary();
        List<(string Name, DType DType, long[] Shape, byte[] Bytes)> tensors = [.. file.Tensors.Values.Select(entry => (entry.Name, entry.DType, entry.Shape.ToArray(), file.Bytes(entry).ToArray()))];
        for (int i = random.Next(1, 3); i > 0; i--)
        {
            int which = random.Next(tensors.Count);
            (string name, DType dtype, long[] shape, byte[] bytes) = tensors[which];
            switch (random.Next(7))
            {
                case 0:
                    string key = metadata.Keys.ElementAt(random.Next(metadata.Count));
                    metadata[key] = s_values[random.Next(s_values.Length)];
                    break;
                case 1:
                    metadata[s_keys[random.Next(s_keys.Length)]] = s_values[random.Next(s_values.Length)];
                    break;
                case 2:
                    metadata.Remove(metadata.Keys.ElementAt(random.Next(metadata.Count)));
                    break;
                case 3:
                    tensors.RemoveAt(which);
                    break;
                case 4:
                    random.NextBytes(bytes);
                    break;
                case 5:
                    tensors[which] = (name, dtype, [shape.Aggregate(1L, (a, b) => a * b)], bytes);
                    break;
                default:
                    tensors[which] = (name + "x", dtype, shape, bytes);
                    break;
            }

            if (tensors.Count == 0)
            {
                break;
            }
        }

        metadata["metadata_xxh3"] = DigestOf(metadata);
        SafetensorsWriter.Write(_folder.File("forged"), [.. tensors.Select(tensor => new TensorToWrite(tensor.Name, tensor.DType, tensor.Shape, tensor.Bytes))], metadata, new() { Checksums = true, FlushToDisk = false });
    }

    private static string DigestOf(Dictionary<string, string> metadata) =>
        System.IO.Hashing.XxHash3.HashToUInt64(Encoding.UTF8.GetBytes(string.Concat(metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => $"{pair.Key}\0{pair.Value}\0")))).ToString("x16", CultureInfo.InvariantCulture);
}

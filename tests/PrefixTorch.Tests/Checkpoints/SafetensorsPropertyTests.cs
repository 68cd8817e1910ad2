using System.Text;
using CsCheck;
using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Checkpoints;

/// <summary>What holds for every file, tried on files made by chance.</summary>
public sealed class SafetensorsPropertyTests : IDisposable
{
    private static readonly byte[] s_small = RawSafetensors.Bytes(
        """{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b.c":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"d":{"dtype":"I8","shape":[0,3],"data_offsets":[10,10]}}  """, 10);

    private static readonly Gen<string> s_name = Gen.String[1, 12].Where(IsText);

    private static readonly Gen<(string Name, DType DType, long[] Shape)> s_tensor =
        Gen.Select(s_name, Gen.OneOf(Enum.GetValues<DType>()), Gen.Long[0, 5].Array[0, 4]);

    private static readonly Gen<byte[]> s_mutant = Gen.Select(Gen.Int[0, 4], Gen.Int[0, s_small.Length - 1], Gen.Byte, Gen.Int[0, s_small.Length - 1], Mutate);

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void EveryFileThatIsWrittenIsReadAsItWas() =>
        Gen.Select(s_tensor.List[0, 8], Gen.Dictionary(s_name, Gen.String.Where(IsText))[0, 4], Gen.Bool).Sample(
            (tensors, metadata, checksums) =>
            {
                TensorToWrite[] distinct = [.. tensors.DistinctBy(tensor => tensor.Name).Where(tensor => tensor.Name != "__metadata__").Select(Fill)];
                string path = _folder.File(Guid.NewGuid().ToString("N"));
                SafetensorsWriter.Write(path, distinct, metadata, new() { FlushToDisk = false, Checksums = checksums });
                using var file = SafetensorsFile.Open(path);
                Assert.Equal(distinct.Select(tensor => tensor.Name), file.Tensors.Keys);
                Assert.All(metadata, pair => Assert.Equal(pair.Value, file.Metadata[pair.Key]));
                Assert.Equal(checksums ? distinct.Length : 0, SafetensorsChecksums.VerifyAll(file));
                foreach (TensorToWrite tensor in distinct)
                {
                    TensorEntry entry = file[tensor.Name];
                    Assert.Equal(tensor.DType, entry.DType);
                    Assert.Equal(tensor.Shape, entry.Shape);
                    Assert.Equal(Payload(tensor.Name, entry.ByteCount), file.Bytes(entry).ToArray());
                }
            },
            iter: 300);

    [Fact]
    public void AMutatedHeaderIsReadWithinItsFileOrRefused() =>
        s_mutant.Array[1, 3].Sample(mutants =>
        {
            foreach (byte[] mutant in mutants.Where(bytes => bytes.Length > 8))
            {
                try
                {
                    int length = Math.Min(BitConverter.ToInt32(s_small), mutant.Length - 8);
                    CheckThatItTiles(SafetensorsHeader.Read("mutant", mutant.AsSpan(8, length), mutant.Length).Tensors.Values, 8 + length, mutant.Length);
                }
                catch (CheckpointException)
                {
                    // Refused, as it should be.
                }
            }
        }, iter: 20_000);

    [Fact]
    public void AMutatedFileIsReadWithinItsBoundsOrRefused() =>
        s_mutant.Sample(mutant =>
        {
            string path = _folder.File(Guid.NewGuid().ToString("N"));
            File.WriteAllBytes(path, mutant);
            try
            {
                using var file = SafetensorsFile.Open(path);
                CheckThatItTiles(file.Tensors.Values, 8 + BitConverter.ToInt64(mutant), mutant.Length);
                foreach (TensorEntry entry in file.Tensors.Values)
                {
                    Assert.Equal(mutant.AsSpan((int)entry.Offset, (int)entry.ByteCount).ToArray(), file.Bytes(entry).ToArray());
                }
            }
            catch (CheckpointException error)
            {
                Assert.StartsWith(path, error.Message, StringComparison.Ordinal);
            }

            File.Delete(path);
        }, iter: 2_000);

    [Fact]
    public void AMutatedIndexOpensOrIsRefused()
    {
        _folder.Write("s.safetensors", RawSafetensors.Header(RawSafetensors.Bytes("a", 0, 1)), 1);
        byte[] index = Encoding.UTF8.GetBytes("""{"metadata":{"total_size":1},"weight_map":{"a":"s.safetensors"}}""");
        Gen.Select(Gen.Int[0, index.Length - 1], Gen.Byte).Sample((position, value) =>
        {
            byte[] mutant = [.. index];
            mutant[position] = value;
            File.WriteAllBytes(_folder.File("model.safetensors.index.json"), mutant);
            try
            {
                using var checkpoint = Checkpoint.Open(_folder.Path);
                Assert.Equal("a", Assert.Single(checkpoint.Tensors.Keys));
            }
            catch (CheckpointException error)
            {
                Assert.StartsWith(_folder.Path, error.Message, StringComparison.Ordinal);
            }
        }, iter: 1_000, threads: 1);
    }

    private static void CheckThatItTiles(IEnumerable<TensorEntry> tensors, long dataOffset, long fileByteCount)
    {
        long reached = dataOffset;
        foreach (TensorEntry entry in tensors.OrderBy(entry => entry.Offset).ThenBy(entry => entry.ByteCount))
        {
            Assert.Equal(reached, entry.Offset);
            Assert.Equal(entry.ByteCount, entry.DType.Size() * entry.Shape.Aggregate(1L, (product, dimension) => product * dimension));
            reached += entry.ByteCount;
        }

        Assert.Equal(fileByteCount, reached);
    }

    // One byte changed, added or taken away; the tail cut off; or a piece of the file copied to another place.
    private static byte[] Mutate(int how, int position, byte value, int other)
    {
        List<byte> bytes = [.. s_small];
        switch (how)
        {
            case 0:
                bytes[position] = value;
                break;
            case 1:
                bytes.Insert(position, value);
                break;
            case 2:
                bytes.RemoveAt(position);
                break;
            case 3:
                bytes.RemoveRange(position, bytes.Count - position);
                break;
            default:
                bytes.InsertRange(position, s_small[Math.Min(position, other)..Math.Max(position, other)]);
                break;
        }

        return [.. bytes];
    }

    private static TensorToWrite Fill((string Name, DType DType, long[] Shape) tensor) =>
        new(tensor.Name, tensor.DType, tensor.Shape, Payload(tensor.Name, TensorShape.ByteCount(tensor.Shape, tensor.DType.Size())!.Value));

    private static byte[] Payload(string name, long byteCount) => [.. Enumerable.Range(0, (int)byteCount).Select(i => (byte)(i + name.Length + name[0]))];

    private static bool IsText(string text)
    {
        try
        {
            new UTF8Encoding(false, throwOnInvalidBytes: true).GetByteCount(text);
            return true;
        }
        catch (EncoderFallbackException)
        {
            return false;
        }
    }
}

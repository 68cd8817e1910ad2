using System.Text;
using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Caching;

namespace PrefixTorch.Tests.Checkpoints;

/// <summary>One test for each way in which a safetensors file can attack its reader.</summary>
[Collection(nameof(AloneCollection))]
public sealed class SafetensorsFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void AFileIsReadAsItIs()
    {
        using var file = Open("""{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}   """, 12);
        Assert.Equal("pt", file.Metadata["format"]);
        Assert.Equal(["b", "a"], file.Tensors.Keys);
        TensorEntry b = file["b"];
        Assert.Equal(DType.Float32, b.DType);
        Assert.Equal([2, 1], b.Shape);
        Assert.Equal(8, b.ByteCount);
        Assert.Equal(2, b.ElementCount);
        Assert.Equal([4, 5, 6, 7, 8, 9, 10, 11], file.Bytes(b).ToArray());
        Assert.Equal([0, 1, 2, 3], file.Bytes(file["a"]).ToArray());
        Assert.Equal(file.Block.ByteCount, b.Offset + b.ByteCount);
    }

    [Fact]
    public void ABlockThatIsRetainedOutlivesTheFile()
    {
        var file = Open("""{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}""", 2);
        NativeBlock block = file.Block.Retain();
        long offset = file["a"].Offset;
        file.Dispose();
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => file.Block);
        unsafe
        {
            Assert.Equal(1, block.Pointer[offset + 1]);
        }

        block.Release();
    }

    [Fact]
    public void AFileWithoutTensorsIsValid()
    {
        using var file = Open("{}", 0);
        Assert.Empty(file.Tensors);
        Assert.Empty(file.Metadata);
    }

    [Fact]
    public void EmptyTensorsAndScalarsAreValid()
    {
        using var file = Open("""{"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"f":{"dtype":"F32","shape":[4611686018427387904,8,0],"data_offsets":[8,8]}}""", 8);
        Assert.Equal(0, file["e"].ElementCount);
        Assert.Equal(1, file["s"].ElementCount);
        Assert.Empty(file["s"].Shape);
        Assert.Equal(0, file["f"].ByteCount);
    }

    [Theory]
    [InlineData("F64", 8)]
    [InlineData("F32", 4)]
    [InlineData("F16", 2)]
    [InlineData("BF16", 2)]
    [InlineData("I64", 8)]
    [InlineData("I32", 4)]
    [InlineData("I16", 2)]
    [InlineData("I8", 1)]
    [InlineData("U8", 1)]
    [InlineData("BOOL", 1)]
    [InlineData("F8_E4M3", 1)]
    [InlineData("F8_E5M2", 1)]
    public void EveryDTypeIsKnown(string name, int size)
    {
        using var file = Open(RawSafetensors.Header(RawSafetensors.Entry("a", name, "[3]", $"[0,{3 * size}]")), 3 * size);
        Assert.Equal(name, file["a"].DType.FileName());
    }

    [Fact]
    public void UnknownKeysOfATensorAreSkipped()
    {
        using var file = Open("""{"a":{"note":{"deep":[1,{"x":null}]},"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", 1);
        Assert.Single(file.Tensors);
    }

    [Fact]
    public void OffsetsThatAreNotAlignedAreSaidToBe()
    {
        using var file = Open("""{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}  """, 5);
        Assert.True(file["a"].IsAligned);
        Assert.False(file["b"].IsAligned);
    }

    [Fact]
    public void AMissingFileIsRefused() => TemporaryFolder.Refuses(CheckpointError.NotFound, "none.safetensors", () => SafetensorsFile.Open(_folder.File("none.safetensors")));

    [Fact]
    public void AFolderIsRefused() => TemporaryFolder.Refuses(CheckpointError.NotFound, "that is a folder", () => SafetensorsFile.Open(_folder.Path));

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    public void AFileTooShortForALengthIsRefused(int length) => RefusesBytes(CheckpointError.FileTooShort, $"{length} bytes", new byte[length]);

    [Fact]
    public void AHeaderOfNoLengthIsRefused() => RefusesBytes(CheckpointError.InvalidHeaderLength, "0 bytes", new byte[8]);

    [Fact]
    public void AHeaderBeyondTheFileIsRefused() => RefusesBytes(CheckpointError.InvalidHeaderLength, "3 bytes, but 2 follow", RawSafetensors.Bytes("{}"u8.ToArray(), 0, 3));

    [Theory]
    [InlineData(100_000_001ul)]
    [InlineData(ulong.MaxValue)]
    [InlineData(0x8000_0000_0000_0000ul)]
    public void AHeaderTooLargeIsRefused(ulong length) => RefusesBytes(CheckpointError.HeaderTooLarge, "100000000", RawSafetensors.Bytes("{}"u8.ToArray(), 0, length));

    [Fact]
    public void AHeaderThatIsNotUtf8IsRefused() => RefusesBytes(CheckpointError.HeaderNotUtf8, "UTF-8", RawSafetensors.Bytes([(byte)'{', (byte)'"', 0xFF, (byte)'"', (byte)'}']));

    [Theory]
    [InlineData("[]")]
    [InlineData(" {}")]
    [InlineData("\uFEFF{}")]
    public void AHeaderThatDoesNotStartWithABraceIsRefused(string header) => Refuses(CheckpointError.InvalidHeaderStart, "'{'", header);

    [Theory]
    [InlineData("{")]
    [InlineData("{]")]
    [InlineData("{}{}")]
    [InlineData("{} x")]
    [InlineData("{\"a\"}")]
    [InlineData("{\"a\":}")]
    [InlineData("{// no\n}")]
    [InlineData("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},}")]
    [InlineData("{}\0")]
    [InlineData("{\"\\ud800\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}")]
    [InlineData("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1")]
    public void AHeaderThatIsNotJsonIsRefused(string header) => Refuses(CheckpointError.InvalidJson, "header", header, 1);

    [Fact]
    public void AHeaderNestedTooDeeplyIsRefused() => Refuses(CheckpointError.InvalidJson, "depth", "{\"a\":{\"x\":" + new string('[', 10_000));

    [Theory]
    [InlineData("""{"a":1}""", "the number 1")]
    [InlineData("""{"a":null}""", "null")]
    [InlineData("""{"a":[]}""", "an array")]
    [InlineData("""{"a":{}}""", "no dtype")]
    [InlineData("""{"a":{"dtype":"U8","data_offsets":[0,1]}}""", "no shape")]
    [InlineData("""{"a":{"dtype":"U8","shape":[1]}}""", "no data_offsets")]
    [InlineData("""{"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}}""", "dtype the number 8")]
    [InlineData("""{"a":{"dtype":null,"shape":[1],"data_offsets":[0,1]}}""", "dtype null")]
    [InlineData("""{"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}}""", "shape the number 1")]
    [InlineData("""{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}""", "a string among its shape")]
    [InlineData("""{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}""", "the number 1.0")]
    [InlineData("""{"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}}""", "an array among its shape")]
    [InlineData("""{"a":{"dtype":"U8","shape":[1],"data_offsets":{"0":1}}}""", "data_offsets an object")]
    [InlineData("""{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}""", "1 data_offsets")]
    [InlineData("""{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}""", "3 data_offsets")]
    [InlineData("""{"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}}""", "9223372036854775808")]
    public void WrongTypesAreRefused(string header, string named) => Refuses(CheckpointError.InvalidHeader, named, header, 1);

    [Theory]
    [InlineData("""{"__metadata__":[]}""", "an array")]
    [InlineData("""{"__metadata__":null}""", "null")]
    [InlineData("""{"__metadata__":{"n":1}}""", "'n' to the number 1")]
    [InlineData("""{"__metadata__":{"n":{"m":"x"}}}""", "'n' to an object")]
    public void MetadataOtherThanStringsAreRefused(string header, string named) => Refuses(CheckpointError.InvalidMetadata, named, header);

    [Theory]
    [InlineData("""{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", "'a'")]
    [InlineData("""{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}""", "'a'")]
    [InlineData("""{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}""", "'a.dtype'")]
    [InlineData("""{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}""", "'a.shape'")]
    [InlineData("""{"__metadata__":{"k":"1","k":"2"}}""", "'__metadata__.k'")]
    [InlineData("""{"__metadata__":{},"__metadata__":{}}""", "'__metadata__'")]
    public void DuplicateNamesAreRefused(string header, string named) => Refuses(CheckpointError.DuplicateName, named, header, 1);

    [Theory]
    [InlineData("f32")]
    [InlineData("C64")]
    [InlineData("")]
    [InlineData("F8")]
    public void AnUnknownDTypeIsRefused(string dtype) => Refuses(CheckpointError.UnknownDType, $"'{dtype}'", RawSafetensors.Header(RawSafetensors.Entry("a", dtype, "[1]", "[0,1]")), 1);

    [Theory]
    [InlineData("[-1]")]
    [InlineData("[-1,-1]")]
    [InlineData("[0,-1]")]
    [InlineData("[4294967296,4294967296]")]
    [InlineData("[2305843009213693952,4]")]
    [InlineData("[9223372036854775807]")]
    public void AShapeThatIsNegativeOrOverflowsIsRefused(string shape) => Refuses(CheckpointError.InvalidShape, "shape", RawSafetensors.Header(RawSafetensors.Entry("a", "F32", shape, "[0,4]")), 4);

    [Theory]
    [InlineData("[4,0]")]
    [InlineData("[-4,0]")]
    [InlineData("[-8,-4]")]
    public void OffsetsThatAreReversedOrNegativeAreRefused(string offsets) => Refuses(CheckpointError.InvalidOffsets, "'a'", RawSafetensors.Header(RawSafetensors.Entry("a", "F32", "[1]", offsets)), 4);

    [Theory]
    [InlineData(3)]
    [InlineData(5)]
    public void BytesThatDoNotFitTheShapeAreRefused(int end) => Refuses(CheckpointError.SizeMismatch, $"give it {end}", RawSafetensors.Header(RawSafetensors.Entry("a", "F32", "[1]", $"[0,{end}]")), end);

    [Fact]
    public void AFileThatWasCutShortIsRefused() => Refuses(CheckpointError.TruncatedFile, "cut short", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 7);

    [Fact]
    public void OffsetsThatOverflowWithTheHeaderAreRefused() => Refuses(CheckpointError.TruncatedFile, "9223372036854775807", """{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}""", 1);

    [Theory]
    [InlineData(0, 4, 2, 6)]
    [InlineData(0, 4, 0, 4)]
    [InlineData(0, 8, 2, 4)]
    public void TensorsThatShareBytesAreRefused(int begin1, int end1, int begin2, int end2) =>
        Refuses(CheckpointError.OverlappingTensors, "before", RawSafetensors.Header(RawSafetensors.Bytes("a", begin1, end1), RawSafetensors.Bytes("b", begin2, end2)), 8);

    [Fact]
    public void AnEmptyTensorInsideAnotherIsRefused() =>
        Refuses(CheckpointError.OverlappingTensors, "'e'", """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}""", 4);

    [Theory]
    [InlineData(1, 2)]
    [InlineData(0, 3)]
    public void BytesOfNoTensorAreRefused(int begin1, int begin2) =>
        Refuses(CheckpointError.HoleBetweenTensors, "belong to no tensor", RawSafetensors.Header(RawSafetensors.Bytes("a", begin1, begin1 + 1), RawSafetensors.Bytes("b", begin2, begin2 + 1)), 4);

    [Theory]
    [InlineData("{}")]
    [InlineData("""{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""")]
    public void TrailingBytesAreRefused(string header) => Refuses(CheckpointError.TrailingBytes, "belongs to no tensor", header, 2);

    [Fact]
    public void ARefusedFileIsNotLeftMapped()
    {
        int before = NativeBlock.LiveCount;
        for (int i = 0; i < 20; i++)
        {
            Refuses(CheckpointError.TrailingBytes, "", "{}", 1);
        }

        Assert.InRange(NativeBlock.LiveCount, 0, before);
    }

    private SafetensorsFile Open(string header, int dataByteCount) => SafetensorsFile.Open(_folder.Write("a.safetensors", header, dataByteCount));

    private void Refuses(CheckpointError error, string named, string header, int dataByteCount = 0) =>
        RefusesBytes(error, named, RawSafetensors.Bytes(Encoding.UTF8.GetBytes(header), dataByteCount));

    private void RefusesBytes(CheckpointError error, string named, byte[] bytes)
    {
        string path = _folder.File("attack.safetensors");
        File.WriteAllBytes(path, bytes);
        TemporaryFolder.Refuses(error, named, () => SafetensorsFile.Open(path).Dispose());
    }
}

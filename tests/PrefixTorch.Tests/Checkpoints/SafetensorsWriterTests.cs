using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Checkpoints;

public sealed class SafetensorsWriterTests : IDisposable
{
    private static readonly SafetensorsWriteOptions s_checksums = new() { Checksums = true, FlushToDisk = false };

    private readonly TemporaryFolder _folder = new();

    private string Target => _folder.File("t.safetensors");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void WhatIsWrittenIsRead()
    {
        SafetensorsWriter.Write(
            Target,
            [new("b", DType.Float32, [1, 2], Bytes(8)), new("ä\"\\\n", DType.UInt8, [], Bytes(1)), new("e", DType.BFloat16, [0, 3], Bytes(0))],
            new Dictionary<string, string> { ["z"] = "1", ["a"] = "é\"" });
        using var file = SafetensorsFile.Open(Target);
        Assert.Equal(["b", "ä\"\\\n", "e"], file.Tensors.Keys);
        Assert.Equal([new("z", "1"), new("a", "é\"")], file.Metadata);
        Assert.Equal(Bytes(8), file.Bytes(file["b"]).ToArray());
        Assert.Equal([1, 2], file["b"].Shape);
        Assert.Empty(file["ä\"\\\n"].Shape);
        Assert.Equal([0, 3], file["e"].Shape);
    }

    [Fact]
    public void TheDataBeginAtAMultipleOf64()
    {
        for (int length = 1; length < 70; length++)
        {
            SafetensorsWriter.Write(Target, [new(new string('n', length), DType.UInt8, [1], Bytes(1))], options: s_checksums);
            using var file = SafetensorsFile.Open(Target);
            Assert.Equal(0, file.Tensors.Values.Single().Offset % 64);
        }
    }

    [Fact]
    public void AFileWithoutTensorsIsWritten()
    {
        SafetensorsWriter.Write(Target, []);
        using var file = SafetensorsFile.Open(Target);
        Assert.Empty(file.Tensors);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1000)]
    [InlineData((1 << 20) - 1)]
    [InlineData(1 << 20)]
    [InlineData((1 << 20) + 1)]
    [InlineData(5_000_000)]
    public void PiecesOfAnySizeArriveInOrder(int pieceLength)
    {
        byte[] payload = Bytes(Math.Min(3 * pieceLength, 7_000_001));
        SafetensorsWriter.Write(Target, [new("head", DType.UInt8, [3], Bytes(3)), new("p", DType.UInt8, [payload.Length], writer =>
        {
            // One buffer for all pieces: each must be done with when the call returns.
            var buffer = new byte[pieceLength];
            for (int offset = 0; offset < payload.Length; offset += pieceLength)
            {
                int count = Math.Min(pieceLength, payload.Length - offset);
                payload.AsSpan(offset, count).CopyTo(buffer);
                writer.Write(buffer.AsSpan(0, count));
                buffer.AsSpan().Fill(0xEE);
            }
        })], options: s_checksums);
        using var file = SafetensorsFile.Open(Target);
        Assert.True(file.Bytes(file["p"]).SequenceEqual(payload));
        Assert.Equal(2, SafetensorsChecksums.VerifyAll(file));
    }

    [Fact]
    public unsafe void PiecesOfNativeMemoryAreGathered()
    {
        // [2, 3, 4] bytes of which each head's three rows lie in two segments.
        NativeBlock first = NativeBlock.Allocate(16), second = NativeBlock.Allocate(8);
        for (int i = 0; i < 16; i++)
        {
            first.Pointer[i] = (byte)i;
        }

        for (int i = 0; i < 8; i++)
        {
            second.Pointer[i] = (byte)(100 + i);
        }

        PayloadPiece[] pieces = [new(first.Pointer, 8), new(second.Pointer, 4), new(first.Pointer + 8, 8), new(second.Pointer + 4, 4)];
        SafetensorsWriter.Write(Target, [new("key.0", DType.UInt8, [2, 3, 4], pieces)]);
        first.Release();
        second.Release();
        using var file = SafetensorsFile.Open(Target);
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7, 100, 101, 102, 103, 8, 9, 10, 11, 12, 13, 14, 15, 104, 105, 106, 107], file.Bytes(file["key.0"]).ToArray());
    }

    [Fact]
    public void ChecksumsTellADamagedTensor()
    {
        SafetensorsWriter.Write(Target, [new("a", DType.UInt8, [100], Bytes(100)), new("b", DType.UInt8, [100], Bytes(100))], new Dictionary<string, string> { ["format"] = "pt" }, s_checksums);
        long offset;
        using (var file = SafetensorsFile.Open(Target))
        {
            Assert.Equal(2, SafetensorsChecksums.VerifyAll(file));
            Assert.Equal(System.IO.Hashing.XxHash3.HashToUInt64(Bytes(100)), SafetensorsChecksums.Kept(file, file["a"]));
            offset = file["b"].Offset;
        }

        byte[] bytes = File.ReadAllBytes(Target);
        bytes[offset + 50] ^= 1;
        File.WriteAllBytes(Target, bytes);
        using var damaged = SafetensorsFile.Open(Target);
        Assert.True(SafetensorsChecksums.Verify(damaged, damaged["a"]));
        TemporaryFolder.Refuses(CheckpointError.ChecksumMismatch, "'b'", () => SafetensorsChecksums.VerifyAll(damaged));
    }

    [Fact]
    public void WithoutChecksumsThereIsNothingToVerify()
    {
        SafetensorsWriter.Write(Target, [new("a", DType.UInt8, [1], Bytes(1))]);
        using var file = SafetensorsFile.Open(Target);
        Assert.Equal(0, SafetensorsChecksums.VerifyAll(file));
    }

    [Theory]
    [InlineData("xyz")]
    [InlineData("00000000000000gg")]
    [InlineData(" 0000000000000 1")]
    public void AChecksumThatIsNoneIsRefused(string checksum)
    {
        SafetensorsWriter.Write(Target, [new("a", DType.UInt8, [1], Bytes(1))], new Dictionary<string, string> { ["xxh3.a"] = checksum });
        using var file = SafetensorsFile.Open(Target);
        TemporaryFolder.Refuses(CheckpointError.InvalidMetadata, $"'{checksum}'", () => SafetensorsChecksums.VerifyAll(file));
    }

    [Fact]
    public void AFailureInTheMiddleLeavesTheOldFileAndNothingElse()
    {
        SafetensorsWriter.Write(Target, [new("old", DType.UInt8, [1], Bytes(1))]);
        byte[] before = File.ReadAllBytes(Target);
        Assert.Throws<InvalidOperationException>(() => SafetensorsWriter.Write(Target, [new("new", DType.UInt8, [4_000_000], writer =>
        {
            writer.Write(Bytes(3_000_000));
            throw new InvalidOperationException("in the middle");
        })]));
        OnlyTheTargetIsThere(before);
    }

    [Fact]
    public void CancellingLeavesTheOldFileAndNothingElse()
    {
        SafetensorsWriter.Write(Target, [new("old", DType.UInt8, [1], Bytes(1))]);
        byte[] before = File.ReadAllBytes(Target);
        using var source = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => SafetensorsWriter.Write(Target, [new("new", DType.UInt8, [4_000_000], writer =>
        {
            writer.Write(Bytes(3_000_000));
            source.Cancel();
            writer.Write(Bytes(1_000_000));
        })], options: new() { Cancellation = source.Token }));
        OnlyTheTargetIsThere(before);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(5)]
    public void APayloadOfAnotherLengthThanItsShapeIsRefused(int length)
    {
        TemporaryFolder.Refuses(CheckpointError.SizeMismatch, $"takes 4 bytes, but {length} were given", () => SafetensorsWriter.Write(Target, [new("a", DType.Float32, [1], Bytes(length))]));
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void AShapeThatIsNegativeOrOverflowsIsRefused()
    {
        TemporaryFolder.Refuses(CheckpointError.InvalidShape, "[-1]", () => SafetensorsWriter.Write(Target, [new("a", DType.UInt8, [-1], Bytes(0))]));
        TemporaryFolder.Refuses(CheckpointError.InvalidShape, "'a'", () => SafetensorsWriter.Write(Target, [new("a", DType.Float64, [1L << 60, 2], Bytes(0))]));
    }

    [Fact]
    public void NamesThatCollideAreRefused()
    {
        TensorToWrite a = new("a", DType.UInt8, [1], Bytes(1));
        TemporaryFolder.Refuses(CheckpointError.DuplicateName, "'a'", () => SafetensorsWriter.Write(Target, [a, a]));
        TemporaryFolder.Refuses(CheckpointError.DuplicateName, "'__metadata__'", () => SafetensorsWriter.Write(Target, [a with { Name = "__metadata__" }]));
        TemporaryFolder.Refuses(CheckpointError.DuplicateName, "'xxh3.a'", () => SafetensorsWriter.Write(Target, [a], new Dictionary<string, string> { ["xxh3.a"] = "" }, s_checksums));
        TemporaryFolder.Refuses(CheckpointError.InvalidHeader, "Unicode", () => SafetensorsWriter.Write(Target, [a with { Name = "\ud800" }]));
    }

    [Fact]
    public void AFolderThatIsNotThereIsNamed() =>
        TemporaryFolder.Refuses(CheckpointError.NotWritten, "none", () => SafetensorsWriter.Write(_folder.File("none/t.safetensors"), []));

    [Fact]
    public void ATargetThatIsAFolderIsRefusedAndNothingIsLeft()
    {
        Directory.CreateDirectory(Target);
        TemporaryFolder.Refuses(CheckpointError.NotWritten, "untouched", () => SafetensorsWriter.Write(Target, [new("a", DType.UInt8, [1], Bytes(1))]));
        Assert.Equal(Target, Assert.Single(Directory.GetFileSystemEntries(_folder.Path)));
    }

    [Fact]
    public void AFileMayBeReplacedWhileItIsMapped()
    {
        SafetensorsWriter.Write(Target, [new("a", DType.UInt8, [3], Bytes(3))]);
        using var old = SafetensorsFile.Open(Target);
        SafetensorsWriter.Write(Target, [new("a", DType.UInt8, [1], new byte[] { 9 })]);
        using var current = SafetensorsFile.Open(Target);
        Assert.Equal([0, 1, 2], old.Bytes(old["a"]).ToArray());
        Assert.Equal([9], current.Bytes(current["a"]).ToArray());
    }

    private void OnlyTheTargetIsThere(byte[] content)
    {
        Assert.Equal(Target, Assert.Single(Directory.GetFileSystemEntries(_folder.Path)));
        Assert.Equal(content, File.ReadAllBytes(Target));
    }

    private static byte[] Bytes(int count) => [.. Enumerable.Range(0, count).Select(i => (byte)(i ^ (i >> 8)))];
}

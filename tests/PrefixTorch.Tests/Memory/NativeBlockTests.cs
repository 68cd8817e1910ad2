using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Memory;

public unsafe class NativeBlockTests
{
    [Fact]
    public void TheLastHolderFrees()
    {
        var block = NativeBlock.Allocate(1000);
        Assert.Equal(0, (long)block.Pointer % NativeBlock.Alignment);
        block.Pointer[999] = 7;
        block.Retain();
        block.Release();
        Assert.Equal(7, block.Pointer[999]);
        block.Release();
        Assert.Throws<ObjectDisposedException>(() => block.Retain());
        Assert.Throws<ObjectDisposedException>(() => (nint)block.Pointer);
        Assert.Throws<InvalidOperationException>(block.Release);
    }

    [Fact]
    public void HugePagesAreAlignedAndCounted()
    {
        long bytes = (2 * MemoryPages.HugeByteCount) + 100;
        var block = NativeBlock.AllocateHuge(bytes);
        Assert.Equal(0, (long)block.Pointer % MemoryPages.HugeByteCount);
        Assert.Equal(bytes, block.ByteCount);
        block.Pointer[0] = 1;
        block.Pointer[bytes - 1] = 2;
        Assert.Equal(3, block.Pointer[0] + block.Pointer[bytes - 1]);
        block.Release();
        Assert.Throws<ObjectDisposedException>(() => (nint)block.Pointer);
    }

    [Fact]
    public void PagesOfAMapThatAreLetGoComeBack()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, [.. Enumerable.Range(0, 20_000).Select(i => (byte)(i % 251))]);
            var block = NativeBlock.Map(path);
            MemoryPages.LetGo(block.Pointer + 5, block.ByteCount - 10);
            Assert.True(File.ReadAllBytes(path).AsSpan().SequenceEqual(new ReadOnlySpan<byte>(block.Pointer, (int)block.ByteCount)));
            block.Release();
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void FreeMemoryIsWhatTheSystemSays()
    {
        Assert.Equal(24_000L * 1024, FreeMemory.ReadAvailable(["MemTotal:       99000 kB", "MemAvailable:   24000 kB"]));
        Assert.Null(FreeMemory.ReadAvailable(["MemTotal:       99000 kB"]));
        Assert.InRange(FreeMemory.Measure(), 1 << 20, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
    }

    [Fact]
    public void AMapShowsTheFileAndOutlivesItsReplacement()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, [1, 2, 3]);
            var block = NativeBlock.Map(path);
            Assert.True(block.IsMapped);
            Assert.Equal(3, block.ByteCount);
            string other = path + ".new";
            File.WriteAllBytes(other, [9, 9]);
            File.Move(other, path, overwrite: true);
            Assert.Equal(2, block.Pointer[1]);
            block.Release();
        }
        finally
        {
            File.Delete(path);
        }
    }
}

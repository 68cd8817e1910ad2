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

using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Tests.Memory;

public unsafe class LibTorchTests
{
    // Without a call of ours before, as a program that brings its own tensors does.
    [Fact]
    public void ItLoadsOnThisSystem()
    {
        using var ones = torch.ones(2, 3);
        using var sum = ones.sum();
        Assert.Equal(6, sum.item<float>());
    }

    [Fact]
    public void AMendedCopyDiffersInOneFlagAndIsMadeOnce()
    {
        if (LibTorch.Find("libLibTorchSharp.so") is not string original)
        {
            Assert.Skip("libLibTorchSharp.so is for Linux.");
            return;
        }

        var cache = Directory.CreateTempSubdirectory();
        try
        {
            string mended = LibTorch.Mend(original, cache.FullName);
            var stamp = File.GetLastWriteTimeUtc(mended);
            Assert.Equal(mended, LibTorch.Mend(original, cache.FullName));
            Assert.Equal(stamp, File.GetLastWriteTimeUtc(mended));

            byte[] before = File.ReadAllBytes(original), after = File.ReadAllBytes(mended);
            int[] changed = [.. Enumerable.Range(0, before.Length).Where(i => before[i] != after[i])];
            int at = Assert.Single(changed);
            Assert.Equal(before[at] | 2, after[at]);
        }
        finally
        {
            cache.Delete(recursive: true);
        }
    }

    [Fact]
    public void WhatIsNoElfFileIsRefused()
    {
        var error = Assert.Throws<PrefixTorchException>(() => ElfVersionNeeds.MarkWeak(new byte[100], "GLIBCXX_3.4.32"));
        Assert.Contains("ELF", error.Message, StringComparison.Ordinal);
        byte[] torn = new byte[100];
        "\u007fELF\u0002\u0001"u8.CopyTo(torn);
        torn[0x28] = 90;
        torn[0x3a] = 64;
        torn[0x3c] = 4;
        Assert.Throws<PrefixTorchException>(() => ElfVersionNeeds.MarkWeak(torn, "GLIBCXX_3.4.32"));
    }

    [Fact]
    public void ATensorOverABlockSharesItsMemory()
    {
        var block = NativeBlock.Allocate(6 * sizeof(float));
        var data = (float*)block.Pointer;
        for (int i = 0; i < 6; i++)
        {
            data[i] = i;
        }

        using (var tensor = NativeTensor.Over(data, DType.Float32, 2, 3))
        {
            Assert.Equal([2L, 3L], tensor.shape);
            data[5] = 50;
            Assert.Equal(50, tensor[1, 2].item<float>());
        }

        Assert.Equal(50, data[5]);
        block.Release();
    }
}

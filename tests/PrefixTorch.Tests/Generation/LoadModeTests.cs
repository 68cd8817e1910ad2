using PrefixTorch.Caching;
using PrefixTorch.Generation;

namespace PrefixTorch.Tests.Generation;

/// <summary>Where weights lie changes the time and no number.</summary>
public sealed class LoadModeTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(null)]
    [InlineData(Quantization.Int8)]
    [InlineData(Quantization.Int4)]
    public async Task LogitsAreTheSameBits(Quantization? quantization)
    {
        using var folder = new Cli.TemporaryFolder();
        string model = Repository.TinyTolstoy;
        if (quantization is Quantization codes)
        {
            model = Path.Combine(folder.Path, "codes");
            await Llama.QuantizeAsync(Repository.TinyTolstoy, model, codes, cancellationToken: Cancellation);
        }

        float[] mapped = await LogitsAsync(LoadMode.Map), copied = await LogitsAsync(LoadMode.Copy);
        Assert.Equal(mapped.Select(BitConverter.SingleToInt32Bits), copied.Select(BitConverter.SingleToInt32Bits));

        async Task<float[]> LogitsAsync(LoadMode mode)
        {
            using Llama llama = await Llama.LoadAsync(model, new() { Load = mode }, Cancellation);
            Assert.Equal(mode, llama.Options.Load);
            (float[] logits, KvCache cache) = await llama.LogitsAsync([1, 5, 9, 200, 31], prefixLength: 2, Cancellation);
            cache.Dispose();
            return logits;
        }
    }

    [Fact]
    public void AutoIsTheMapAndACopyNeedsRoom()
    {
        Assert.Equal(LoadMode.Map, Llama.ChooseLoad(new(), bytes: 10, free: 1000));
        Assert.Equal(LoadMode.Map, Llama.ChooseLoad(new() { Load = LoadMode.Map }, bytes: 2000, free: 1000));
        Assert.Equal(LoadMode.Copy, Llama.ChooseLoad(new() { Load = LoadMode.Copy }, bytes: 1000, free: 1000));
        var error = Assert.Throws<PrefixTorchException>(() => Llama.ChooseLoad(new() { Load = LoadMode.Copy }, bytes: 2000, free: 1000));
        Assert.Contains("2,000 bytes and 1,000 are free", error.Message, StringComparison.Ordinal);
        error = Assert.Throws<PrefixTorchException>(() => Llama.ChooseLoad(new() { Load = LoadMode.Copy, Device = "cuda:1" }, bytes: 10, free: 1000));
        Assert.Contains("cuda:1", error.Message, StringComparison.Ordinal);
    }
}

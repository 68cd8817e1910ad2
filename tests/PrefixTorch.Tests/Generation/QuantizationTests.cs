using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Sampling;

namespace PrefixTorch.Tests.Generation;

public class QuantizationTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(Quantization.Int8, 0.005)]
    [InlineData(Quantization.Int4, 0.08)]
    public async Task PerplexityStaysNearTheOriginals(Quantization quantization, double tolerance)
    {
        using var folder = new ModelCopy();
        double original, quantized;
        using (Llama llama = await Llama.LoadAsync(folder.Path, cancellationToken: Cancellation))
        {
            original = await PerplexityAsync(llama);
        }

        using (Llama llama = await Llama.LoadAsync(folder.Path, new() { Quantization = quantization }, Cancellation))
        {
            quantized = await PerplexityAsync(llama);
            Assert.EndsWith(quantization.ToString().ToLowerInvariant(), llama.Name, StringComparison.Ordinal);
        }

        Assert.InRange(quantized, original * (1 - tolerance), original * (1 + tolerance));
    }

    [Theory]
    [InlineData(Quantization.Int8)]
    [InlineData(Quantization.Int4)]
    public async Task ItIsMadeOnceBesideTheModelAndMadeAgainForOtherWeights(Quantization quantization)
    {
        using var folder = new ModelCopy();
        string made = Path.Combine(folder.Path, $"prefixtorch-{quantization.ToString().ToLowerInvariant()}", "model.safetensors");
        (await Llama.LoadAsync(folder.Path, new() { Quantization = quantization }, Cancellation)).Dispose();
        DateTime first = File.GetLastWriteTimeUtc(made);
        (await Llama.LoadAsync(folder.Path, new() { Quantization = quantization }, Cancellation)).Dispose();
        Assert.Equal(first, File.GetLastWriteTimeUtc(made));

        // The same names and shapes, one byte of one weight other.
        string shard = Path.Combine(folder.Path, "model-00001-of-00003.safetensors");
        byte[] bytes = await File.ReadAllBytesAsync(shard, Cancellation);
        bytes[^1] ^= 0x40;
        await File.WriteAllBytesAsync(shard, bytes, Cancellation);
        (await Llama.LoadAsync(folder.Path, new() { Quantization = quantization }, Cancellation)).Dispose();
        Assert.NotEqual(first, File.GetLastWriteTimeUtc(made));
    }

    [Fact]
    public async Task ProgressCountsEveryMatrixOnce()
    {
        using var folder = new ModelCopy();
        List<(int Done, int Total)> told = [];
        LlamaOptions options = new() { Quantization = Quantization.Int8, QuantizationProgress = new Synchronous(told) };
        (await Llama.LoadAsync(folder.Path, options, Cancellation)).Dispose();
        Assert.Equal(Enumerable.Range(1, told.Count).Select(done => (done, told.Count)), told);
        using (Llama llama = await Llama.LoadAsync(folder.Path, options, Cancellation))
        {
            // Made before: nothing is left to tell.
            Assert.Equal(7 * llama.Config.NumHiddenLayers + 2, told.Count);
        }
    }

    private sealed class Synchronous(List<(int Done, int Total)> told) : IProgress<(int Done, int Total)>
    {
        public void Report((int Done, int Total) value) => told.Add(value);
    }

    [Fact]
    public async Task AQuantizedFolderIsAModelOfItsOwn()
    {
        using var folder = new ModelCopy();
        string target = Path.Combine(folder.Path, "int8");
        await Llama.QuantizeAsync(folder.Path, target, Quantization.Int8, cancellationToken: Cancellation);
        using Llama quantized = await Llama.LoadAsync(target, cancellationToken: Cancellation);
        using Llama original = await Llama.LoadAsync(folder.Path, cancellationToken: Cancellation);
        using KvCache prefix = await quantized.PrefillAsync("Prince Andrew", cancellationToken: Cancellation);
        string state = Path.Combine(folder.Path, "state.safetensors");
        prefix.Save(state);
        Assert.Contains("weights", Assert.Throws<KvStateException>(() => KvCache.Load(state, original)).Message, StringComparison.Ordinal);
        using Continuation continuation = await quantized.ContinueAsync(prefix, " was", new() { Greedy = true, MaxNewTokens = 8 }, cancellationToken: Cancellation);
        Assert.Equal(8, continuation.Ids.Length);

        var error = await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.QuantizeAsync(target, Path.Combine(folder.Path, "again"), Quantization.Int4, cancellationToken: Cancellation));
        Assert.Contains("already", error.Message, StringComparison.Ordinal);
        error = await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.LoadAsync(target, new() { Quantization = Quantization.Int4 }, Cancellation));
        Assert.Contains("int8", error.Message, StringComparison.Ordinal);
    }

    // Of text that the model has not seen, in one piece and token by token's own logits.
    private static async Task<double> PerplexityAsync(Llama llama)
    {
        string text = await File.ReadAllTextAsync(Repository.Fixture("text", "war-and-peace-end.txt"), Cancellation);
        int[] ids = llama.Tokenizer.Encode(text[..4000]);
        (float[] logits, KvCache cache) = await llama.LogitsAsync(ids, cancellationToken: Cancellation);
        cache.Dispose();
        int vocabulary = llama.Config.VocabSize;
        double sum = 0;
        for (int i = 0; i + 1 < ids.Length; i++)
        {
            sum -= LogProbs.Of(logits.AsSpan(i * vocabulary, vocabulary), ids[i + 1]);
        }

        return Math.Exp(sum / (ids.Length - 1));
    }

    /// <summary>The trained model in a folder that may be written.</summary>
    private sealed class ModelCopy : IDisposable
    {
        public ModelCopy()
        {
            foreach (string file in Directory.GetFiles(Repository.TinyTolstoy))
            {
                File.Copy(file, System.IO.Path.Combine(Path, System.IO.Path.GetFileName(file)));
            }
        }

        public string Path { get; } = Directory.CreateTempSubdirectory("prefixtorch-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}

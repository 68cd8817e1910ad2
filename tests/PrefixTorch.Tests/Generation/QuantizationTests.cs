using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Generation;

public class QuantizationTests
{
    // The divergence of a distribution from itself, computed in doubles.
    private const double Rounding = 1e-13;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(Quantization.Int8, 0.005)]
    [InlineData(Quantization.Int4, 0.08)]
    public async Task PerplexityStaysNearTheOriginals(Quantization quantization, double tolerance)
    {
        using var folder = new ModelCopy();
        using Llama original = await Llama.LoadAsync(folder.Path, cancellationToken: Cancellation);
        using Llama quantized = await Llama.LoadAsync(folder.Path, new() { Quantization = quantization }, Cancellation);
        Assert.EndsWith(quantization.ToString().ToLowerInvariant(), quantized.Name, StringComparison.Ordinal);
        await AssertNearAsync(quantized, original, tolerance);
    }

    // Its published weights were rounded to four bits with a minimum before, which zero points follow; what int4 costs it is its embedding's.
    [Theory]
    [InlineData(Quantization.Int8, 0.005)]
    [InlineData(Quantization.Int4, 0.08)]
    public async Task SmolLMStaysNearTheOriginal(Quantization quantization, double tolerance)
    {
        string folder = SmolLM.Folder();
        using Llama original = await Llama.LoadAsync(folder, cancellationToken: Cancellation);
        using Llama quantized = await Llama.LoadAsync(folder, new() { Quantization = quantization }, Cancellation);

        // On less text int8's perplexity moves by more than half a percent, to either side.
        await AssertNearAsync(quantized, original, tolerance, characters: 16000);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(16)]
    public async Task PerplexityOverAnEightBitCacheStaysNearThatOverBFloat16(int chunk)
    {
        using Llama bfloat16 = await Llama.LoadAsync(Repository.TinyTolstoy, new() { KvDType = DType.BFloat16, PrefillChunk = chunk }, Cancellation);
        using Llama int8 = await Llama.LoadAsync(Repository.TinyTolstoy, new() { KvDType = DType.Int8, PrefillChunk = chunk }, Cancellation);
        double wide = await PerplexityAsync(bfloat16), narrow = await PerplexityAsync(int8);
        TestContext.Current.TestOutputHelper!.WriteLine($"Perplexity over bfloat16 {wide:F4}, over int8 {narrow:F4}: {narrow / wide - 1:P3}.");
        Assert.NotEqual(wide, narrow);
        Assert.InRange(narrow, wide * 0.995, wide * 1.005);
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

        // Codes that an older version laid.
        byte[] file = await File.ReadAllBytesAsync(made, Cancellation);
        byte[] key = System.Text.Encoding.UTF8.GetBytes("\"code_version\":\"");
        file[file.AsSpan().IndexOf(key) + key.Length] = (byte)'1';
        await File.WriteAllBytesAsync(made, file, Cancellation);
        (await Llama.LoadAsync(folder.Path, new() { Quantization = quantization }, Cancellation)).Dispose();
        Assert.True(file.AsSpan().IndexOf(key) > 0);
        Assert.NotEqual(file, await File.ReadAllBytesAsync(made, Cancellation));
        first = File.GetLastWriteTimeUtc(made);

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
        error = await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.LoadAsync(target, new() { DType = DType.Float32 }, Cancellation));
        Assert.Contains("holds int8 weights and float32 was asked for", error.Message, StringComparison.Ordinal);
    }

    // On text that the model has not seen: so many characters of it, and some to compare decoding with reading on.
    private static async Task AssertNearAsync(Llama quantized, Llama original, double tolerance, int characters = 4000)
    {
        string text = await File.ReadAllTextAsync(Repository.Fixture("text", "war-and-peace-end.txt"), Cancellation);
        PerplexityReport report = await quantized.PerplexityAsync(quantized.Tokenizer.Encode(text[..characters]), new() { Reference = original }, cancellationToken: Cancellation);
        Divergence from = report.FromReference!;
        Assert.InRange(report.Perplexity, from.Perplexity * (1 - tolerance), from.Perplexity * (1 + tolerance));
        Assert.InRange(from.Mean, 1e-7, tolerance * 4);
        Assert.InRange(from.Largest, from.Mean, double.PositiveInfinity);

        // Decoding is the same model as reading, to the bit; but where int4 is widened to read, which is a far smaller step than that from the original.
        bool isWidened = quantized.Name.EndsWith("int4", StringComparison.Ordinal) && KernelSet.Current.HasAmx;
        Assert.InRange((await DecodingAsync(original)).Largest, 0, Rounding);
        Assert.InRange((await DecodingAsync(quantized)).Mean, 0, isWidened ? from.Mean / 10 : Rounding);

        async Task<Divergence> DecodingAsync(Llama llama) =>
            (await llama.PerplexityAsync(llama.Tokenizer.Encode(text[..4000]), new() { DecodePath = true }, cancellationToken: Cancellation)).OfDecodePath!;
    }

    private static async Task<double> PerplexityAsync(Llama llama)
    {
        string text = await File.ReadAllTextAsync(Repository.Fixture("text", "war-and-peace-end.txt"), Cancellation);
        return (await llama.PerplexityAsync(llama.Tokenizer.Encode(text[..4000]), cancellationToken: Cancellation)).Perplexity;
    }

    /// <summary>The trained model in a folder that may be written.</summary>
    [Fact]
    public async Task AFolderWithSomebodysWeightsIsLeftAsItIs()
    {
        using var folder = new ModelCopy();
        string link = folder.Path + "-link", other = Path.Combine(folder.Path, "other"), wrong = Path.Combine(other, "model.safetensors"), pickled = Path.Combine(folder.Path, "pickled");
        Directory.CreateSymbolicLink(link, folder.Path);
        Directory.CreateDirectory(other);
        Directory.CreateDirectory(pickled);
        File.Copy(Path.Combine(folder.Path, "config.json"), Path.Combine(pickled, "config.json"));
        await File.WriteAllTextAsync(Path.Combine(pickled, "pytorch_model.bin"), "weights", Cancellation);
        await File.WriteAllTextAsync(wrong, "no weights", Cancellation);
        string[] before = Digests();
        try
        {
            foreach (string target in new[] { folder.Path, link, Path.Combine(folder.Path, "x", ".."), other, pickled })
            {
                var error = await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.QuantizeAsync(folder.Path, target, Quantization.Int4, cancellationToken: Cancellation));
                Assert.Contains("was not made by quantizing", error.Message, StringComparison.Ordinal);
            }

            var file = await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.QuantizeAsync(folder.Path, wrong, Quantization.Int4, cancellationToken: Cancellation));
            Assert.Contains("is a file", file.Message, StringComparison.Ordinal);
            Assert.Equal(before, Digests());
        }
        finally
        {
            Directory.Delete(link);
        }

        string[] Digests() =>
            [.. Directory.GetFiles(folder.Path, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(path => $"{path} {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(path)))}")];
    }

    [Fact]
    public async Task CancelledItLeavesNoFolderAndThreadsAreInRange()
    {
        using var folder = new ModelCopy();
        string target = Path.Combine(folder.Path, "int4");
        using var cancel = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Llama.QuantizeAsync(folder.Path, target, Quantization.Int4, progress: new Canceller(cancel), cancellationToken: cancel.Token));
        Assert.False(Directory.Exists(target));
        var error = await Assert.ThrowsAsync<PrefixTorchException>(async () => await Llama.QuantizeAsync(folder.Path, target, Quantization.Int4, threads: 30000, cancellationToken: Cancellation));
        Assert.Contains("at most 1024", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DamagedCodesBesideAModelAreNamed()
    {
        using var folder = new ModelCopy();
        using (await Llama.LoadAsync(folder.Path, new() { Quantization = Quantization.Int8 }, Cancellation))
        {
        }

        string made = Path.Combine(folder.Path, "prefixtorch-int8");
        using (FileStream weights = File.OpenWrite(Path.Combine(made, "model.safetensors")))
        {
            weights.SetLength(1000);
        }

        var error = await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.LoadAsync(folder.Path, new() { Quantization = Quantization.Int8 }, Cancellation));
        Assert.Contains($"{made} was made by quantizing and is damaged; delete it", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AStateOfFourBitWeightsIsVerifiedHoweverManyTokensAreReadAtATime()
    {
        using var folder = new ModelCopy();
        using Llama llama = await Llama.LoadAsync(folder.Path, new() { Quantization = Quantization.Int4 }, Cancellation);
        Assert.Equal(!KernelSet.Current.HasAmx, llama.ReadsAsItDecodes);
        using KvCache state = await llama.PrefillAsync(string.Concat(Enumerable.Repeat("Prince Andrew rode up to the battery. ", 3)), cancellationToken: Cancellation);
        bool wholeIsSame = true;
        foreach (string suffix in new[] { " And", " In", " I", " The", " He" })
        {
            VerificationReport report = await llama.VerifyAsync(state, suffix, new() { NewTokens = 24 }, Cancellation);
            Assert.Equal(VerificationVerdict.BitForBit, report.Verdict);
            wholeIsSame &= report.Whole.SameBits;
        }

        Assert.Equal(llama.ReadsAsItDecodes, wholeIsSame);
    }

    private sealed class Canceller(CancellationTokenSource cancel) : IProgress<(int Done, int Total)>
    {
        public void Report((int Done, int Total) value) => cancel.Cancel();
    }

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

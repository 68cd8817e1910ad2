using PrefixTorch.Caching;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Parity;

/// <summary>The forward pass against Hugging Face's, for every kind of checkpoint, on every path.</summary>
public class ForwardTests
{
    private const float Tolerance = 1e-4f;

    // Mean distance of an 8-bit cache's logits to fp32, of their standard deviation: the worst case has 0.0162, the trained model 0.0035.
    private const double EightBitTolerance = 0.02;

    public static TheoryData<string, string> CasesAndPaths()
    {
        var data = new TheoryData<string, string>();
        foreach (string name in Repository.GoldenCases.Append("trained"))
        {
            foreach (string path in TestModel.Paths)
            {
                data.Add(name, path);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(CasesAndPaths))]
    public void EveryTensorIsHuggingFaces(string name, string path)
    {
        using Golden golden = Golden.Load(name);
        using var model = new TestModel(Golden.Checkpoint(name), path, DType.Float32);
        using var cache = new KvCache(model);
        Dictionary<int, float[]> hidden = [];
        float[] logits = model.Append(cache, golden.Ids, allLogits: true, (layer, values) => hidden[layer] = values);

        Assert.InRange(Golden.MaxDistance(logits, golden.Tensor("logits")), 0, Tolerance);
        int layers = model.Config.NumHiddenLayers;
        for (int i = 0; i < layers; i++)
        {
            Assert.InRange(Golden.MaxDistance(hidden[i], golden.Tensor($"hidden.{i}")), 0, Tolerance);
        }

        Assert.InRange(Golden.MaxDistance(hidden[layers + 1], golden.Tensor($"hidden.{layers}")), 0, Tolerance);
        using KvCache prefix = cache.Clone();
        prefix.Truncate(golden.PrefixLength);
        AssertKeysAndValues(golden, prefix, layers);
    }

    [Theory]
    [MemberData(nameof(CasesAndPaths))]
    public void ContinuingAPrefixIsHuggingFaces(string name, string path)
    {
        using Golden golden = Golden.Load(name);
        using var model = new TestModel(Golden.Checkpoint(name), path, DType.Float32);
        using var prefix = new KvCache(model);
        int p = golden.PrefixLength, vocabulary = model.Config.VocabSize;
        float[] first = model.Append(prefix, golden.Ids[..p], allLogits: true);

        // The rest at once, and one by one, each from a clone.
        using KvCache atOnce = prefix.Clone(), oneByOne = prefix.Clone();
        float[] rest = model.Append(atOnce, golden.Ids[p..], allLogits: true);
        float[] expected = golden.Tensor("logits");
        Assert.InRange(Golden.MaxDistance(first, expected.AsSpan(0, p * vocabulary)), 0, Tolerance);
        Assert.InRange(Golden.MaxDistance(rest, expected.AsSpan(p * vocabulary)), 0, Tolerance);
        for (int i = p; i < golden.Ids.Length; i++)
        {
            float[] one = model.Append(oneByOne, [golden.Ids[i]]);
            Assert.InRange(Golden.MaxDistance(one, expected.AsSpan(i * vocabulary, vocabulary)), 0, Tolerance);
        }

        Assert.Equal(p, prefix.Length);
        AssertKeysAndValues(golden, prefix, model.Config.NumHiddenLayers);
    }

    [Theory]
    [MemberData(nameof(CasesAndPaths))]
    public void SixtyFourGreedyIdsAreHuggingFaces(string name, string path)
    {
        using Golden golden = Golden.Load(name);
        using var model = new TestModel(Golden.Checkpoint(name), path, DType.Float32);
        using var cache = new KvCache(model);
        float[] logits = model.Append(cache, golden.Ids[..golden.PrefixLength]);
        List<int> ids = [];
        for (int i = 0; i < 64; i++)
        {
            int best = Array.IndexOf(logits, logits.Max());
            ids.Add(best);
            logits = model.Append(cache, [best]);
        }

        Assert.Equal(golden.GreedyFromPrefix, ids);
    }

    [Theory]
    [InlineData("bf16-checkpoint")]
    [InlineData("fp16-checkpoint")]
    [InlineData("sharded")]
    [InlineData("trained")]
    public void LowPrecisionIsNoFurtherFromFp32ThanHuggingFaces(string name)
    {
        using Golden golden = Golden.Load(name);
        double theirs = golden.Json.GetProperty("low_precision").GetProperty("mean_abs_diff_to_fp32").GetDouble();
        foreach (string path in TestModel.Paths)
        {
            using var model = new TestModel(Golden.Checkpoint(name), path);
            using KvCache whole = new(model), pieces = new(model);
            float[] expected = golden.Tensor("logits");
            double ours = Golden.MeanDistance(model.Append(whole, golden.Ids, allLogits: true), expected);
            Assert.True(ours <= 1.1 * theirs, $"{path}: {ours} against {theirs}");

            List<float> few = [];
            foreach (int[] chunk in golden.Ids.Chunk(7))
            {
                few.AddRange(model.Append(pieces, chunk, allLogits: true));
            }

            ours = Golden.MeanDistance([.. few], expected);
            Assert.True(ours <= 1.1 * theirs, $"{path}, in pieces of 7: {ours} against {theirs}");
        }
    }

    [Theory]
    [MemberData(nameof(CasesAndPaths))]
    public void AnEightBitCacheIsNearHuggingFaces(string name, string path)
    {
        using Golden golden = Golden.Load(name);
        using var model = new TestModel(Golden.Checkpoint(name), path, DType.Float32, DType.Int8);
        using KvCache whole = new(model), pieces = new(model);
        float[] expected = golden.Tensor("logits");
        double mean = expected.Average(), deviation = Math.Sqrt(expected.Average(logit => (logit - mean) * (logit - mean)));
        double atOnce = Golden.MeanDistance(model.Append(whole, golden.Ids, allLogits: true), expected) / deviation;
        List<float> few = [];
        foreach (int[] chunk in golden.Ids.Chunk(7))
        {
            few.AddRange(model.Append(pieces, chunk, allLogits: true));
        }

        double inPieces = Golden.MeanDistance([.. few], expected) / deviation;
        TestContext.Current.TestOutputHelper!.WriteLine($"Mean distance to fp32: {atOnce:P3} of the logits' deviation, in pieces of 7 {inPieces:P3}.");
        Assert.InRange(atOnce, 1e-6, EightBitTolerance);
        Assert.InRange(inPieces, 1e-6, EightBitTolerance);

        // Keys of the first layer depend on no attention: they are the golden ones, rounded.
        (TorchSharp.torch.Tensor key, TorchSharp.torch.Tensor value) = whole.ToTensors(0);
        using (key)
        using (value)
        using (TorchSharp.torch.Tensor prefix = key.narrow(2, 0, golden.PrefixLength).contiguous())
        {
            float[] exact = golden.Tensor("key.0");
            Assert.InRange(Golden.MaxDistance(prefix.data<float>().ToArray(), exact), 1e-6f, exact.Max(MathF.Abs) / 253);
        }
    }

    private static void AssertKeysAndValues(Golden golden, KvCache cache, int layers)
    {
        for (int i = 0; i < layers; i++)
        {
            (TorchSharp.torch.Tensor key, TorchSharp.torch.Tensor value) = cache.ToTensors(i);
            using (key)
            using (value)
            {
                Assert.Equal([1, cache.Layout.KeyValueHeads, golden.PrefixLength, cache.Layout.HeadDim], key.shape);
                Assert.InRange(Golden.MaxDistance(key.data<float>().ToArray(), golden.Tensor($"key.{i}")), 0, Tolerance);
                Assert.InRange(Golden.MaxDistance(value.data<float>().ToArray(), golden.Tensor($"value.{i}")), 0, Tolerance);
            }
        }
    }
}

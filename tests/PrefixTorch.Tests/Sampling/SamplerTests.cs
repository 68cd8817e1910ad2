using PrefixTorch.Sampling;

namespace PrefixTorch.Tests.Sampling;

public class SamplerTests
{
    private static readonly float[] s_logits = [0.5f, -1, 2, 1.25f, float.NegativeInfinity, 0, -0.75f, 1.5f, -3];

    [Fact]
    public void GreedyTakesTheLowestOfTheBest() =>
        Assert.Equal(1, Sample(new() { Greedy = true }, [1, 4, 4, 2, 4]).Id);

    [Fact]
    public void TemperatureZeroIsGreedyAndTinyTemperaturesComeToIt()
    {
        for (int row = 0; row < 200; row++)
        {
            float[] logits = Normal(row, 1_000);
            int best = Sample(new() { Greedy = true }, logits).Id;
            Assert.Equal(best, Sample(new() { Temperature = 0 }, logits).Id);
            Assert.Equal(best, Sample(new() { Temperature = 1e-6f, Seed = 1 }, logits, position: row).Id);
            Assert.Equal(best, Sample(new() { Temperature = 1e-30f, Seed = 1 }, logits, position: row).Id);
        }
    }

    [Fact]
    public void LogProbIsOfTheModelsOwnDistribution()
    {
        double sum = s_logits.Sum(logit => Math.Exp(logit));
        SampledToken token = Sample(new() { Seed = 5, Temperature = 0.1f, TopK = 1, RepetitionPenalty = 3 }, s_logits, ids: [7]);
        Assert.Equal(2, token.Id);
        Assert.Equal(2 - Math.Log(sum), token.LogProb, 6);
    }

    [Fact]
    public void TopLogProbsAreOfTheModelsOwnDistributionBestFirst()
    {
        double logSum = Math.Log(s_logits.Sum(logit => Math.Exp(logit)));
        var sampler = new Sampler(new() { Seed = 5, SuppressTokens = [2] }, logProbs: 3);
        sampler.Sample(s_logits, [], 0, 0);
        Assert.Equal([2, 7, 3], sampler.TopLogProbs.Select(token => token.Id));
        Assert.Equal(2 - logSum, sampler.TopLogProbs[0].LogProb, 6);
        Assert.Equal(sampler.TopLogProbs, LogProbs.Top(s_logits, 3));
        Assert.Equal(LogProbs.Of(s_logits, 7), sampler.TopLogProbs[1].LogProb);
        Assert.Equal(8, LogProbs.Top(s_logits, 100).Length);
    }

    [Fact]
    public void DrawsFollowTheDistribution()
    {
        double sum = s_logits.Sum(logit => Math.Exp(logit));
        double[] expected = [.. s_logits.Where(float.IsFinite).Select(logit => 40_000 * Math.Exp(logit) / sum)];
        int[] counts = Counts(new() { Seed = 3 }, s_logits, 40_000);
        Assert.Equal(0, counts[4]);
        Assert.InRange(ChiSquare.Of([.. counts.Where((_, id) => id != 4)], expected), 0, 24);
    }

    [Fact]
    public void DrawsFollowTheDistributionAcrossBlocks()
    {
        float[] logits = Normal(1, 1_300);
        double sum = logits.Sum(logit => Math.Exp(logit));
        int[] counts = Counts(new() { Seed = 9 }, logits, 100_000);

        // Some 1,300 bins are many for chi-square with few draws each: fold them.
        int[] folded = new int[13];
        double[] expected = new double[13];
        for (int id = 0; id < logits.Length; id++)
        {
            folded[id / 100] += counts[id];
            expected[id / 100] += 100_000 * Math.Exp(logits[id]) / sum;
        }

        Assert.InRange(ChiSquare.Of(folded, expected), 0, 35);
    }

    [Fact]
    public void TheSameSeedBranchAndPositionGiveTheSameTokenWhateverWasSampledBetween()
    {
        var one = new Sampler(new() { Seed = 11, TopP = 0.9f }, branch: 2);
        var two = new Sampler(new() { Seed = 11, TopP = 0.9f }, branch: 2);
        float[] logits = Normal(2, 2_000);
        int[] forward = [.. Enumerable.Range(0, 50).Select(position => one.Sample(logits, [], 0, position).Id)];
        int[] backward = [.. Enumerable.Range(0, 50).Reverse().Select(position => two.Sample(logits, [], 0, position).Id)];
        Assert.Equal(forward, backward.Reverse());
        Assert.True(forward.Distinct().Count() > 10);
    }

    [Fact]
    public void BranchesAndSeedsDiffer()
    {
        float[] logits = Normal(2, 2_000);
        int[] Ids(ulong seed, long branch) => [.. Enumerable.Range(0, 20).Select(position => Sample(new() { Seed = seed }, logits, position: position, branch: branch).Id)];
        Assert.NotEqual(Ids(1, 0), Ids(1, 1));
        Assert.NotEqual(Ids(1, 0), Ids(2, 0));
    }

    [Fact]
    public void WithoutASeedTheRandomOneIsReportedAndRepeatsTheDraws()
    {
        float[] logits = Normal(2, 2_000);
        var first = new Sampler(new SamplingOptions());
        var again = new Sampler(new SamplingOptions { Seed = first.Seed });
        Assert.NotEqual(first.Seed, new Sampler(new SamplingOptions()).Seed);
        for (int position = 0; position < 20; position++)
        {
            Assert.Equal(first.Sample(logits, [], 0, position), again.Sample(logits, [], 0, position));
        }
    }

    [Fact]
    public void CutsBoundWhatIsDrawn()
    {
        Assert.Equal([2, 7], Support(new() { Seed = 1, TopK = 2 }));
        Assert.Equal([2, 3, 7], Support(new() { Seed = 1, MinP = 0.4f }));
        Assert.Equal([2], Support(new() { Seed = 1, TopP = 0.1f }));
        Assert.Equal([2, 7], Support(new() { Seed = 1, TopP = 0.6f }));
    }

    [Theory]
    [InlineData(float.NaN, "NaN")]
    [InlineData(float.PositiveInfinity, "Infinity")]
    public void ALogitThatIsNoNumberIsNamed(float wrong, string named)
    {
        foreach (int id in new[] { 3, 20 })
        {
            float[] logits = new float[21];
            logits[id] = wrong;
            foreach (bool greedy in new[] { true, false })
            {
                var error = Assert.Throws<PrefixTorchException>(() => Sample(new() { Greedy = greedy }, logits));
                Assert.StartsWith($"The logit of token {id} is {named}", error.Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void WhenEveryTokenIsForbiddenTheErrorSaysSo()
    {
        var error = Assert.Throws<PrefixTorchException>(() => Sample(new() { SuppressTokens = [0, 1] }, [1, 2]));
        Assert.StartsWith("All 2 logits are negative infinity", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ATokenInTheCommonCasesAllocatesNothing()
    {
        var sampler = new Sampler(new() { Seed = 1, Temperature = 0.8f, TopK = 50, TopP = 0.95f, MinP = 0.01f, RepetitionPenalty = 1.1f, FrequencyPenalty = 0.1f });
        float[] logits = Normal(4, 20_000);
        int[] ids = [1, 2, 3, 2, 1];
        sampler.Sample(logits, ids, 2, 0);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int position = 1; position < 10; position++)
        {
            sampler.Sample(logits, ids, 2, position);
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 9 * 64);
        Assert.Equal(Normal(4, 20_000), logits);
    }

    private static int[] Support(SamplingOptions options) => [.. Counts(options, s_logits, 2_000).Index().Where(entry => entry.Item > 0).Select(entry => entry.Index)];

    private static int[] Counts(SamplingOptions options, float[] logits, int draws)
    {
        var sampler = new Sampler(options);
        int[] counts = new int[logits.Length];
        for (int position = 0; position < draws; position++)
        {
            counts[sampler.Sample(logits, [], 0, position).Id]++;
        }

        return counts;
    }

    private static SampledToken Sample(SamplingOptions options, float[] logits, int[]? ids = null, long position = 0, long branch = 0) =>
        new Sampler(options, branch).Sample(logits, ids ?? [], 0, position);

    private static float[] Normal(int seed, int length)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
    }
}

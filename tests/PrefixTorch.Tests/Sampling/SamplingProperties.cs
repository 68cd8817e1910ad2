using CsCheck;
using PrefixTorch.Sampling;
using PrefixTorch.Sampling.Processors;

namespace PrefixTorch.Tests.Sampling;

/// <summary>What holds for every row of scores.</summary>
public class SamplingProperties
{
    private const float Never = float.NegativeInfinity;

    // Rows with ties, forbidden tokens, zeros of both signs, and lengths on both sides of a vector.
    private static readonly Gen<float[]> s_scores =
        Gen.Frequency((6, Gen.Float[-30, 30]), (3, Gen.Int[-3, 3].Select(i => (float)i)), (1, Gen.Const(-0f)), (2, Gen.Const(Never)))
            .Array[1, 300]
            .Where(row => row.Any(float.IsFinite));

    private static readonly Gen<SamplingOptions> s_options = Gen.Select(
        Gen.Select(Gen.Float[0.1f, 2], Gen.Int[0, 40], Gen.Float[0, 1], Gen.Float[0, 1]),
        Gen.Select(Gen.Float[0.05f, 1], Gen.Float[0.05f, 1], Gen.Float[0, 0.9f], Gen.Float[0, 0.9f]),
        Gen.Select(Gen.Float[0.5f, 2], Gen.Float[-2, 2], Gen.Float[-2, 2], Gen.ULong),
        Gen.Byte,
        (cuts, more, penalties, on) => new SamplingOptions
        {
            Temperature = cuts.Item1,
            TopK = (on & 1) != 0 ? cuts.Item2 : null,
            TopP = (on & 2) != 0 ? cuts.Item3 : null,
            MinP = (on & 4) != 0 ? cuts.Item4 : null,
            TypicalP = (on & 8) != 0 ? more.Item1 : null,
            TopH = (on & 16) != 0 ? more.Item2 : null,
            EpsilonCutoff = (on & 32) != 0 ? more.Item3 : null,
            EtaCutoff = (on & 64) != 0 ? more.Item4 : null,
            RepetitionPenalty = penalties.Item1,
            FrequencyPenalty = penalties.Item2,
            PresencePenalty = penalties.Item3,
            Seed = penalties.Item4,
        });

    [Fact]
    public void ProcessorsReviveNoTokenAndLeaveOneAtLeast() =>
        Gen.Select(s_scores, s_options, Gen.Int[0, 1_000].Array[0, 20]).Sample((scores, options, ids) =>
        {
            float[] processed = [.. scores];
            new LogitsProcessorList(options).Process(processed, new LogitsContext(ids.Select(id => id % scores.Length).ToArray(), ids.Length / 2));
            return scores.Zip(processed).All(pair => pair.First != Never || pair.Second == Never) && processed.Any(float.IsFinite);
        });

    [Fact]
    public void AllowedTokensOnlyAreDrawn() =>
        Gen.Select(s_scores, s_options, Gen.Long, Gen.Long).Sample((scores, options, branch, position) =>
        {
            SampledToken token = new Sampler(options, branch).Sample(scores, [], 0, position);
            return scores[token.Id] != Never && float.IsFinite(token.LogProb) && token.LogProb <= 1e-6f;
        });

    [Fact]
    public void ProbabilitiesSumToOne() =>
        s_scores.Sample(scores => Math.Abs(LogProbs.Top(scores, scores.Length).Sum(token => Math.Exp(token.LogProb)) - 1) < 1e-5);

    [Fact]
    public void TopSelectionIsSortingAndTaking() =>
        Gen.Select(s_scores, Gen.Int[1, 320]).Sample((scores, k) =>
        {
            int[] expected = [.. Enumerable.Range(0, scores.Length).Where(id => scores[id] != Never).OrderByDescending(id => scores[id]).ThenBy(id => id).Take(k)];
            ulong[] keys = TopSelection.Take(scores, k, new SamplingScratch()).ToArray();
            return expected.SequenceEqual(keys.Select(TopSelection.Id)) && keys.All(key => TopSelection.Score(key) == scores[TopSelection.Id(key)]);
        });

    [Fact]
    public void TopSelectionOfALongRowIsSortingAndTaking() =>
        Gen.Select(Gen.Int[0, 5_000].Array[4_000, 9_000], Gen.Int[1, 3_000]).Sample(
            (row, k) =>
            {
                float[] scores = [.. row.Select(value => value / 16f)];
                IEnumerable<int> expected = Enumerable.Range(0, scores.Length).OrderByDescending(id => scores[id]).ThenBy(id => id).Take(k);
                return expected.SequenceEqual(TopSelection.Take(scores, k, new SamplingScratch()).ToArray().Select(TopSelection.Id));
            },
            iter: 60);

    [Fact]
    public void TopKKeepsAtLeastKAndOnlyTheBest() =>
        Gen.Select(s_scores, Gen.Int[1, 320]).Sample((scores, k) =>
        {
            float[] kept = [.. scores];
            new TopKLogitsWarper(k).Process(kept, new LogitsContext([], 0));
            float least = scores.OrderDescending().ElementAt(Math.Min(k, scores.Length) - 1);
            return kept.Zip(scores).All(pair => pair.First == (pair.Second < least ? Never : pair.Second));
        });

    [Fact]
    public void TopPKeepsTheFewestTokensThatHoldTheMass() =>
        Gen.Select(s_scores, Gen.Float[0, 1]).Sample((scores, p) =>
        {
            float[] kept = [.. scores];
            new TopPLogitsWarper(p).Process(kept, new LogitsContext([], 0));
            double total = scores.Sum(score => Math.Exp(score));
            double[] held = [.. kept.Where(float.IsFinite).Select(score => Math.Exp(score) / total)];
            float least = kept.Where(float.IsFinite).Min();
            return held.Length >= 1
                && held.Sum() >= p - 1e-5
                && (held.Length == 1 || held.Sum() - held.Min() < p + 1e-5)
                && scores.Zip(kept).All(pair => pair.First <= least || pair.First == pair.Second);
        });

    [Fact]
    public void MassSelectionIsSortingAndAdding() =>
        Gen.Select(s_scores, Gen.Double[0, 1], Gen.Float[0.5f, 60]).Sample((scores, share, depth) =>
        {
            // Weights are small whole numbers, which add up exactly in any order.
            float best = scores.Max(), least = best - depth;
            float[] weights = [.. scores.Select((score, id) => score == Never ? 0 : (float)(1 + id % 7))];
            int[] ranked = [.. Enumerable.Range(0, scores.Length).Where(id => scores[id] >= least).OrderByDescending(id => scores[id]).ThenBy(id => id)];
            double wanted = Math.Floor(share * weights.Sum()), held = 0;
            int? last = null;
            foreach (int id in ranked)
            {
                held += weights[id];
                if (held >= wanted)
                {
                    last = id;
                    break;
                }
            }

            ulong? found = MassSelection.Last(scores, weights, best, least, wanted, new SamplingScratch());
            return last is int id2 ? found is ulong key && TopSelection.Id(key) == id2 : found is null;
        });

    [Fact]
    public void TopPAndTypicalPOfALongRowAreSortingAndAdding() =>
        Gen.Select(Gen.Float[-12, 12].Array[5_000, 20_000], Gen.Float[0.05f, 0.999f], Gen.Float[0.01f, 3]).Sample(
            (row, mass, spread) =>
            {
                float[] scores = [.. row.Select(score => score * spread)];
                double max = scores.Max(), total = scores.Sum(score => Math.Exp(score - max));
                double entropy = scores.Sum(score => -Math.Exp(score - max) / total * (score - max - Math.Log(total)));
                AssertSameKept(scores, new TopPLogitsWarper(mass), score => score, mass, max, total);
                AssertSameKept(scores, new TypicalLogitsWarper(mass), score => -Math.Abs(max + Math.Log(total) - score - entropy), mass, max, total);
            },
            iter: 60);

    // Sums in another order may end one token apart, and typical-p keeps all that tie with the last.
    private static void AssertSameKept(float[] scores, LogitsProcessor processor, Func<float, double> rank, double mass, double max, double total)
    {
        float[] kept = [.. scores];
        processor.Process(kept, new LogitsContext([], 0));
        double held = 0;
        double[] ranks = [.. scores.Select(score => rank(score)).OrderDescending()];
        int count = scores.OrderByDescending(rank).TakeWhile(score => (held += Math.Exp(score - max) / total) < mass).Count() + 1;
        double last = ranks[Math.Min(count, ranks.Length) - 1], after = ranks[Math.Min(count, ranks.Length - 1)];
        Assert.InRange(kept.Count(float.IsFinite), ranks.Count(other => other > last + 1e-5), ranks.Count(other => other >= after - 1e-5));
        Assert.True(scores.Zip(kept).All(pair => pair.Second == Never || pair.First == pair.Second));
        double worstKept = kept.Where(float.IsFinite).Min(rank);
        Assert.True(scores.Zip(kept).All(pair => pair.Second != Never || rank(pair.First) <= worstKept + 1e-5));
    }

    [Fact]
    public void ExponentialsAreNearTheTrueOnes() =>
        Gen.Float[-90, 0].Array[1, 40].Sample(scores =>
        {
            float max = scores.Max();
            float[] exponentials = new float[scores.Length];
            double sum = Scores.Exponentials(scores, max, exponentials, new double[Scores.BlockCount(scores.Length)]);
            Assert.Equal(sum, Scores.SumExp(scores, max), 1e-12 * sum);
            for (int i = 0; i < scores.Length; i++)
            {
                double exact = Math.Exp((double)(scores[i] - max));
                Assert.InRange(exponentials[i], exact * (1 - 2e-7) - 1.2e-38, exact * (1 + 2e-7));
            }
        });

    // Rows of one block and of many, a whole one of which may be forbidden.
    [Fact]
    public void ASummaryIsThatOfTheWholeRow() =>
        Gen.Select(s_scores, Gen.Int[1, 70 * LogitsSummary.BlockLength], Gen.Int[0, 3]).Sample(
            (scores, length, forbidden) =>
            {
                var row = new float[length];
                Array.Fill(row, Never, 0, Math.Min(length, forbidden * LogitsSummary.BlockLength));
                for (int i = Math.Min(length - 1, forbidden * LogitsSummary.BlockLength); i < length; i++)
                {
                    row[i] = scores[(int)(i * 7L % scores.Length)];
                }

                if (!row.Any(float.IsFinite))
                {
                    row[^1] = 0;
                }

                var summary = LogitsSummary.Of(row);
                double max = row.Max();
                Assert.Equal(max, summary.Max);
                Assert.Equal(Array.IndexOf(row, (float)max), summary.Best);
                Assert.Equal(max + Math.Log(row.Sum(score => Math.Exp(score - max))), summary.LogSumExp, 1e-6);
            },
            iter: 200);

    [Fact]
    public void ASummaryTellsThatALogitIsNoNumber()
    {
        var row = new float[3 * LogitsSummary.BlockLength];
        row[LogitsSummary.BlockLength + 3] = float.NaN;
        Assert.True(float.IsNaN(LogitsSummary.Of(row).Max));
    }
}

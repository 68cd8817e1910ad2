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
            SampledToken token = new Sampler(options, branch).Sample([.. scores], [], 0, position);
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
    public void ArgMaxIsTheFirstOfTheLargest() =>
        s_scores.Sample(scores => Scores.ArgMax(scores) == Array.IndexOf(scores, scores.Max()));
}

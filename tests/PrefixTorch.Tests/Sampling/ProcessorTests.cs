using PrefixTorch.Sampling;
using PrefixTorch.Sampling.Processors;

namespace PrefixTorch.Tests.Sampling;

public class ProcessorTests
{
    private const float Never = float.NegativeInfinity;

    [Fact]
    public void FrequencyAndPresenceCountGeneratedTokensOnly()
    {
        float[] scores = Process(new FrequencyPresencePenaltyLogitsProcessor(0.5f, 0.25f), [1, 1, 1, 1, 1], [0, 1, 2, 2, 2, 3], promptLength: 3);
        Assert.Equal([1, 1, 1 - (2 * 0.5f) - 0.25f, 1 - 0.5f - 0.25f, 1], scores);
    }

    [Fact]
    public void RepetitionPenaltyAppliesOnceHoweverOftenATokenOccurs() =>
        Assert.Equal([0.5f, -4, 3], Process(new RepetitionPenaltyLogitsProcessor(2), [1, -2, 3], [0, 1, 0, 0, 1], promptLength: 2));

    [Fact]
    public void NoRepeatOfOneTokenForbidsAllThatWereSeen() =>
        Assert.Equal([Never, 1, Never], Process(new NoRepeatNGramLogitsProcessor(1), [0, 1, 2], [2, 0], promptLength: 2));

    [Fact]
    public void NoRepeatNgramNeedsAWholeBeginning() =>
        Assert.Equal([0, 1, 2], Process(new NoRepeatNGramLogitsProcessor(3), [0, 1, 2], [1, 1], promptLength: 2));

    [Fact]
    public void BadWordsLeaveEndTokensAlone() =>
        Assert.Equal([0, 1, Never], Process(new NoBadWordsLogitsProcessor([[1], [2]], [1]), [0, 1, 2], [0], promptLength: 1));

    [Fact]
    public void TopKKeepsWhatTiesWithTheLast() =>
        Assert.Equal([3, 2, 2, Never], Process(new TopKLogitsWarper(2), [3, 2, 2, 1], [], promptLength: 0));

    [Fact]
    public void TopPKeepsOneTokenAtZero() =>
        Assert.Equal([Never, 5, Never, Never], Process(new TopPLogitsWarper(0), [3, 5, 5, 1], [], promptLength: 0));

    [Fact]
    public void TopPOfAFlatRowLooksBeyondTheFirstCandidates()
    {
        // Half a token short of three quarters: exp differs in its last bit between one number and a vector of them.
        float[] scores = Process(new TopPLogitsWarper(0.74995f), new float[10_000], [], promptLength: 0);
        Assert.Equal(7_500, scores.Count(float.IsFinite));
        Assert.All(scores[..7_500], score => Assert.Equal(0, score));
    }

    [Fact]
    public void TypicalOfAFlatRowKeepsAll() =>
        Assert.Equal(new float[10_000], Process(new TypicalLogitsWarper(0.3f), new float[10_000], [], promptLength: 0));

    [Fact]
    public void CutsLeaveARowWithoutCandidatesAlone()
    {
        foreach (LogitsProcessor warper in new LogitsProcessor[] { new TopKLogitsWarper(2), new TopPLogitsWarper(0.5f), new MinPLogitsWarper(0.5f), new TypicalLogitsWarper(0.5f), new TopHLogitsWarper(0.5f), new EpsilonLogitsWarper(0.5f), new EtaLogitsWarper(0.5f) })
        {
            Assert.Equal([Never, Never, Never], Process(warper, [Never, Never, Never], [], promptLength: 0));
        }
    }

    [Fact]
    public void TinyTemperatureKeepsTheBestFinite() =>
        Assert.Equal([Never, 0, Never], Process(new TemperatureLogitsWarper(1e-40f), [1, 3, 2], [], promptLength: 0));

    [Fact]
    public void AnIdOutsideTheVocabularyIsNamed()
    {
        var error = Assert.Throws<ArgumentException>(() => Process(new SuppressTokensLogitsProcessor([7]), [1, 2, 3], [], promptLength: 0));
        Assert.Equal("Token id 7 is outside the vocabulary: ids go from 0 to 2.", error.Message);
    }

    private static float[] Process(LogitsProcessor processor, float[] scores, int[] ids, int promptLength)
    {
        processor.Process(scores, new LogitsContext(ids, promptLength));
        return scores;
    }
}

using PrefixTorch.Sampling;

namespace PrefixTorch.Tests.Sampling;

public class SamplingOptionsTests
{
    public static TheoryData<SamplingOptions, string> Wrong => new()
    {
        { new() { Temperature = -0.5f }, "Temperature is -0.5; it must be at least 0 (0 is greedy, 1 is off)." },
        { new() { Temperature = float.NaN }, "Temperature is NaN; it must be at least 0 (0 is greedy, 1 is off)." },
        { new() { TopK = -1 }, "TopK is -1; it must be at least 0 (0 is off)." },
        { new() { TopP = 1.5f }, "TopP is 1.5; it must be between 0 and 1 (1 is off)." },
        { new() { MinP = 2 }, "MinP is 2; it must be between 0 and 1 (0 is off)." },
        { new() { TypicalP = 0 }, "TypicalP is 0; it must be above 0 and at most 1 (1 is off)." },
        { new() { TopH = 0 }, "TopH is 0; it must be above 0 and at most 1 (null is off)." },
        { new() { EpsilonCutoff = 1 }, "EpsilonCutoff is 1; it must be at least 0 and below 1 (0 is off)." },
        { new() { EtaCutoff = -1 }, "EtaCutoff is -1; it must be at least 0 and below 1 (0 is off)." },
        { new() { RepetitionPenalty = 0 }, "RepetitionPenalty is 0; it must be above 0 (1 is off, more discourages)." },
        { new() { FrequencyPenalty = float.PositiveInfinity }, "FrequencyPenalty is Infinity; it must be a finite number (0 is off, usually between -2 and 2)." },
        { new() { PresencePenalty = float.NaN }, "PresencePenalty is NaN; it must be a finite number (0 is off, usually between -2 and 2)." },
        { new() { NoRepeatNgramSize = -2 }, "NoRepeatNgramSize is -2; it must be at least 0 (0 is off)." },
        { new() { MinNewTokens = -2 }, "MinNewTokens is -2; it must be at least 0 (0 is off)." },
        { new() { SuppressTokens = [3, -1] }, "SuppressTokens is -1; it must be token ids, at least 0." },
        { new() { BadWordsIds = [[]] }, "BadWordsIds is an empty sequence; it must be sequences of one token id or more." },
        { new() { SequenceBias = [new([1], float.NaN)] }, "SequenceBias is NaN; it must be a number below infinity." },
    };

    [Theory]
    [MemberData(nameof(Wrong), DisableDiscoveryEnumeration = true)]
    public void AValueOutOfRangeIsNamedWithItsRange(SamplingOptions options, string message) =>
        Assert.Equal(message, Assert.Throws<ArgumentException>(() => new Sampler(options)).Message);

    [Fact]
    public void NeutralValuesLeaveNoProcessor() => Assert.Empty(new LogitsProcessorList(new SamplingOptions
    {
        Temperature = 1,
        TopK = 0,
        TopP = 1,
        MinP = 0,
        TypicalP = 1,
        EpsilonCutoff = 0,
        EtaCutoff = 0,
        RepetitionPenalty = 1,
        FrequencyPenalty = 0,
        PresencePenalty = 0,
        NoRepeatNgramSize = 0,
        MinNewTokens = 0,
        SuppressTokens = [],
        BadWordsIds = [],
        SequenceBias = [],
        LogitsProcessors = [],
    }));

    [Fact]
    public void GreedyLeavesOutTheCuts() =>
        Assert.Equal(["RepetitionPenaltyLogitsProcessor"], new LogitsProcessorList(new SamplingOptions { Temperature = 0, TopK = 5, TopP = 0.5f, RepetitionPenalty = 2 }).Select(processor => processor.GetType().Name));

    [Fact]
    public void OwnProcessorsStandBetweenPenaltiesAndCuts() =>
        Assert.Equal(
            ["RepetitionPenaltyLogitsProcessor", nameof(Reverse), "TopKLogitsWarper"],
            new LogitsProcessorList(new SamplingOptions { TopK = 5, RepetitionPenalty = 2, LogitsProcessors = [new Reverse()] }).Select(processor => processor.GetType().Name));

    [Theory]
    [InlineData(0.9f, null)]
    [InlineData(null, 0.5f)]
    public void ScoresOfAnySizeAreCutOrRefused(float? topP, float? typicalP)
    {
        float[] logits = [.. Enumerable.Range(0, 1000).Select(i => i * 37 % 1000 / 100f)];
        foreach (float penalty in new[] { -1e8f, -1e9f, -1e30f, -1.5e38f, 1e9f, 3e38f })
        {
            var sampler = new Sampler(new() { Seed = 1, TopP = topP, TypicalP = typicalP, FrequencyPenalty = penalty });
            SampledToken token = sampler.Sample(logits, [1, 2, 3, 3], promptLength: 1, position: 4);
            Assert.True(penalty > 0 ? token.Id is not (2 or 3) : token.Id == 3, $"{penalty} chose {token.Id}.");
        }

        string message = Assert.Throws<PrefixTorchException>(() => new Sampler(new() { Seed = 1, TopP = topP, TypicalP = typicalP, FrequencyPenalty = -3e38f }).Sample(logits, [1, 2, 3, 3], 1, 4)).Message;
        Assert.Contains("after biases, penalties and processors", message, StringComparison.Ordinal);
    }

    private sealed class Reverse : LogitsProcessor
    {
        public override void Process(Span<float> scores, LogitsContext context) => scores.Reverse();
    }
}

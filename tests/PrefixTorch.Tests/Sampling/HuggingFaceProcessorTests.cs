using System.Text.Json;
using PrefixTorch.Sampling;
using PrefixTorch.Sampling.Processors;

namespace PrefixTorch.Tests.Sampling;

/// <summary>Each processor alone, and chains as <c>generate</c> builds them, against Hugging Face's own results.</summary>
public class HuggingFaceProcessorTests
{
    private static readonly Dictionary<string, LogitsProcessor> s_processors = new()
    {
        ["temperature_0_7"] = new TemperatureLogitsWarper(0.7f),
        ["top_k_5"] = new TopKLogitsWarper(5),
        ["top_p_0_8"] = new TopPLogitsWarper(0.8f),
        ["min_p_0_05"] = new MinPLogitsWarper(0.05f),
        ["typical_0_9"] = new TypicalLogitsWarper(0.9f),
        ["epsilon_0_01"] = new EpsilonLogitsWarper(0.01f),
        ["eta_0_01"] = new EtaLogitsWarper(0.01f),
        ["top_h_0_4"] = new TopHLogitsWarper(0.4f),
        ["repetition_1_3"] = new RepetitionPenaltyLogitsProcessor(1.3f),
        ["no_repeat_ngram_2"] = new NoRepeatNGramLogitsProcessor(2),
        ["bad_words_7__9_11"] = new NoBadWordsLogitsProcessor([[7], [9, 11]], []),
        ["sequence_bias"] = new SequenceBiasLogitsProcessor([new([3], 2.5f), new([9, 12], -4)]),
        ["suppress_1_2_3"] = new SuppressTokensLogitsProcessor([1, 2, 3]),
        ["min_new_tokens_4_prompt_8_eos_2"] = new MinNewTokensLengthLogitsProcessor(4, [2]),
    };

    public static TheoryData<string> Names => [.. GoldenScores.Names];

    public static TheoryData<int> Chains => [.. Enumerable.Range(0, GoldenScores.Chains.GetArrayLength())];

    [Theory]
    [MemberData(nameof(Names))]
    public void ProcessorAlone(string name)
    {
        float[] scores = GoldenScores.Scores();
        s_processors[name].Process(scores, new LogitsContext(GoldenScores.PreviousIds, promptLength: 8));
        GoldenScores.AssertEqual(GoldenScores.Processed(name), scores);
    }

    [Theory]
    [MemberData(nameof(Chains))]
    public void ChainInOrder(int index)
    {
        JsonElement chain = GoldenScores.Chains[index];
        JsonElement config = chain.GetProperty("generation_config");
        int[] eos = config.TryGetProperty("eos_token_id", out JsonElement id) ? [id.GetInt32()] : [];
        var processors = new LogitsProcessorList(Options(config), eos);
        Assert.Equal(chain.GetProperty("order").EnumerateArray().Select(name => name.GetString()), processors.Select(processor => processor.GetType().Name));

        float[] scores = GoldenScores.Scores();
        processors.Process(scores, new LogitsContext(GoldenScores.PreviousIds, promptLength: 8));
        GoldenScores.AssertEqual(GoldenScores.Read(chain.GetProperty("processed")), scores);
    }

    private static SamplingOptions Options(JsonElement config)
    {
        var options = new SamplingOptions();
        foreach (JsonProperty entry in config.EnumerateObject())
        {
            JsonElement value = entry.Value;
            options = entry.Name switch
            {
                "temperature" => options with { Temperature = value.GetSingle() },
                "top_k" => options with { TopK = value.GetInt32() },
                "top_p" => options with { TopP = value.GetSingle() },
                "min_p" => options with { MinP = value.GetSingle() },
                "typical_p" => options with { TypicalP = value.GetSingle() },
                "epsilon_cutoff" => options with { EpsilonCutoff = value.GetSingle() },
                "eta_cutoff" => options with { EtaCutoff = value.GetSingle() },
                "repetition_penalty" => options with { RepetitionPenalty = value.GetSingle() },
                "no_repeat_ngram_size" => options with { NoRepeatNgramSize = value.GetInt32() },
                "min_new_tokens" => options with { MinNewTokens = value.GetInt32() },
                "suppress_tokens" => options with { SuppressTokens = Ids(value) },
                "bad_words_ids" => options with { BadWordsIds = [.. value.EnumerateArray().Select(Ids)] },
                "sequence_bias" => options with { SequenceBias = [.. value.EnumerateArray().Select(pair => new SequenceBias(Ids(pair[0]), pair[1].GetSingle()))] },
                "renormalize_logits" => options with { RenormalizeLogits = value.GetBoolean() },
                "eos_token_id" => options,
                _ => throw new InvalidOperationException($"The golden chain has an option that this test does not know: {entry.Name}."),
            };
        }

        return options;
    }

    private static int[] Ids(JsonElement ids) => [.. ids.EnumerateArray().Select(id => id.GetInt32())];
}

using System.Text;
using PrefixTorch.Configuration;

namespace PrefixTorch.Tests.Configuration;

public class GenerationConfigTests
{
    private static readonly LlamaConfig s_model = LlamaConfigTests.With("""{"bos_token_id": 7, "eos_token_id": [8, 9]}""");

    [Fact]
    public void ItsStopTokensWinOverTheModels()
    {
        Assert.Equal([5, 6], Parse("""{"eos_token_id": [5, 6]}""").EosTokenIds);
        Assert.Equal([5], Parse("""{"eos_token_id": 5}""").EosTokenIds);
        Assert.Equal([8, 9], Parse("{}").EosTokenIds);
        Assert.Equal([8, 9], Parse("""{"eos_token_id": null}""").EosTokenIds);
        Assert.Equal((3, 7), (Parse("""{"bos_token_id": 3}""").BosTokenId, Parse("{}").BosTokenId));
    }

    [Fact]
    public void WithoutAFileOnlyTheModelsTokensAreGiven()
    {
        var config = GenerationConfig.Load(Repository.Fixture("text"), s_model);
        Assert.Equal([8, 9], config.EosTokenIds);
        Assert.Null(config.Temperature);
    }

    [Fact]
    public void EveryFieldIsRead()
    {
        var config = Parse("""
            {"_from_model_config": true, "do_sample": true, "temperature": 0.6, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.95,
             "repetition_penalty": 1.1, "no_repeat_ngram_size": 3, "num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.8,
             "early_stopping": "never", "max_new_tokens": 100, "max_length": 4096, "min_new_tokens": 1, "pad_token_id": 0, "transformers_version": "5.23.0"}
            """);
        Assert.Equal((true, 0.6, 40, 0.9, 0.05, 0.95), (config.DoSample, config.Temperature, config.TopK, config.TopP, config.MinP, config.TypicalP));
        Assert.Equal((1.1, 3, 4, 2, 0.8, "never"), (config.RepetitionPenalty, config.NoRepeatNgramSize, config.NumBeams, config.NumReturnSequences, config.LengthPenalty, config.EarlyStopping));
        Assert.Equal((100, 4096, 1, 0), (config.MaxNewTokens, config.MaxLength, config.MinNewTokens, config.PadTokenId));
    }

    [Theory]
    [InlineData("""{"temperature": "hot"}""", "temperature")]
    [InlineData("""{"eos_token_id": {}}""", "eos_token_id")]
    [InlineData("""{"early_stopping": 1}""", "early_stopping")]
    [InlineData("[", "$")]
    public void ValuesOfTheWrongTypeAreNamed(string json, string named)
    {
        var error = Assert.Throws<ConfigurationException>(() => Parse(json));
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
        Assert.StartsWith("generation_config.json: ", error.Message, StringComparison.Ordinal);
    }

    private static GenerationConfig Parse(string json) => GenerationConfig.Parse(Encoding.UTF8.GetBytes(json), s_model);
}

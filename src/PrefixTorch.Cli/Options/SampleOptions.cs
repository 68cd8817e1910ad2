using System.CommandLine;
using System.Text.Json;
using PrefixTorch.Cli.Verbs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Options;

/// <summary>How tokens are chosen and when to stop: the names of Hugging Face's <c>generate</c>.</summary>
internal sealed class SampleOptions : OptionSet
{
    private readonly Option<int?> _maxNewTokens;
    private readonly Option<int?> _minNewTokens;
    private readonly Option<bool> _greedy;
    private readonly Option<ulong?> _seed;
    private readonly Option<float?> _temperature;
    private readonly Option<int?> _topK;
    private readonly Option<float?> _topP;
    private readonly Option<float?> _minP;
    private readonly Option<float?> _typicalP;
    private readonly Option<float?> _topH;
    private readonly Option<float?> _epsilonCutoff;
    private readonly Option<float?> _etaCutoff;
    private readonly Option<float?> _repetitionPenalty;
    private readonly Option<float?> _frequencyPenalty;
    private readonly Option<float?> _presencePenalty;
    private readonly Option<int?> _noRepeatNgramSize;
    private readonly Option<string[]> _stop;
    private readonly Option<int[]> _eosTokenId;
    private readonly Option<bool> _ignoreEos;
    private readonly Option<int?> _samples;
    private readonly Option<int?> _logProbs;

    public SampleOptions()
    {
        _maxNewTokens = Integer("--max-new-tokens", "New tokens at most.");
        _minNewTokens = Integer("--min-new-tokens", "No end token before so many.");
        _greedy = Flag("--greedy", "Always the most likely token.");
        _seed = Keep(TypedOption.Seed("--seed", "Decides every draw; otherwise random, and reported."));
        _temperature = Number("--temperature", "Below 1 sharper, above 1 flatter; 0 is greedy.");
        _topK = Integer("--top-k", "Draw from the so many most likely tokens; 0 is off.");
        _topP = Number("--top-p", "Draw from the fewest tokens that hold this probability; 1 is off.");
        _minP = Number("--min-p", "Draw from tokens at least this fraction as likely as the best; 0 is off.");
        _typicalP = Number("--typical-p", "Draw from the tokens of most typical surprise that hold this probability; 1 is off.");
        _topH = Number("--top-h", "Draw from the best tokens that hold this share of the entropy.");
        _epsilonCutoff = Number("--epsilon-cutoff", "Draw from tokens at least this likely; 0 is off.");
        _etaCutoff = Number("--eta-cutoff", "As epsilon, and lower where the distribution is flat; 0 is off.");
        _repetitionPenalty = Number("--repetition-penalty", "Above 1: tokens that occurred are less likely.");
        _frequencyPenalty = Number("--frequency-penalty", "Subtracted for every time a token was generated.");
        _presencePenalty = Number("--presence-penalty", "Subtracted once where a token was generated.");
        _noRepeatNgramSize = Integer("--no-repeat-ngram-size", "No run of so many tokens occurs twice; 0 is off.");
        _stop = Texts("--stop", "TEXT", "A text that ends the result, which leaves it out, @file, or - for standard input.");
        _eosTokenId = Keep(TypedOption.Integers("--eos-token-id", "A token that ends the result; otherwise the model's.", least: 0));
        _ignoreEos = Flag("--ignore-eos", "Go on after an end token.");
        _samples = Integer("-n", "Samples of each prompt or suffix.", least: 1, "--num-return-sequences");
        _logProbs = Integer("--logprobs", "With --json: log-probabilities of the new tokens and of the so many best at each place.");
    }

    /// <summary>The options as the library takes them, checked.</summary>
    /// <exception cref="UsageException">A value is out of its range.</exception>
    public GenerationOptions Read(VerbCall call)
    {
        var options = new GenerationOptions
        {
            MaxNewTokens = call.Get(_maxNewTokens),
            MinNewTokens = call.Get(_minNewTokens),
            Greedy = call.Get(_greedy),
            Seed = call.Get(_seed),
            Temperature = call.Get(_temperature),
            TopK = call.Get(_topK),
            TopP = call.Get(_topP),
            MinP = call.Get(_minP),
            TypicalP = call.Get(_typicalP),
            TopH = call.Get(_topH),
            EpsilonCutoff = call.Get(_epsilonCutoff),
            EtaCutoff = call.Get(_etaCutoff),
            RepetitionPenalty = call.Get(_repetitionPenalty),
            FrequencyPenalty = call.Get(_frequencyPenalty),
            PresencePenalty = call.Get(_presencePenalty),
            NoRepeatNgramSize = call.Get(_noRepeatNgramSize),
            Stop = [.. (call.Get(_stop) ?? []).Select(stop => call.Texts.Read(stop, _stop.Name))],
            EosTokenIds = call.Has(_eosTokenId) ? call.Get(_eosTokenId) : null,
            IgnoreEos = call.Get(_ignoreEos),
            NumReturnSequences = call.Get(_samples) ?? 1,
            LogProbs = call.Get(_logProbs) ?? 0,
            KeepOnCancel = true,
        };
        try
        {
            options.Validate();
            return options;
        }
        catch (ArgumentException error)
        {
            throw new UsageException(NameOption(error.Message));
        }
    }

    // The library says "TopP is 2"; who typed it said --top-p.
    private static string NameOption(string message)
    {
        int end = message.IndexOf(' ', StringComparison.Ordinal);
        return $"--{JsonNamingPolicy.KebabCaseLower.ConvertName(message[..end])}{message[end..]}";
    }
}

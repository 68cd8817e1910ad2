using System.Collections;
using PrefixTorch.Sampling.Processors;

namespace PrefixTorch.Sampling;

/// <summary>
/// The processors that some options ask for, in the order of Hugging Face's <c>generate</c>: biases, penalties, bans, the caller's
/// own, then (unless greedy) temperature and the cuts.
/// </summary>
public sealed class LogitsProcessorList : IReadOnlyList<LogitsProcessor>
{
    private readonly List<LogitsProcessor> _processors = [];
    private readonly int _warpers;

    /// <summary>The processors for <paramref name="options"/>; what is off leaves none.</summary>
    /// <param name="options">Checked here.</param>
    /// <param name="eosTokenIds">The end tokens, for those processors that treat them apart.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public LogitsProcessorList(SamplingOptions options, IReadOnlyList<int>? eosTokenIds = null)
    {
        options.Validate();
        AddProcessors(options, eosTokenIds ?? []);
        _processors.AddRange(options.LogitsProcessors ?? []);
        _warpers = _processors.Count;
        if (!options.IsGreedy)
        {
            AddWarpers(options);
        }

        if (options.RenormalizeLogits)
        {
            _processors.Add(new LogitNormalization());
        }
    }

    /// <inheritdoc/>
    public int Count => _processors.Count;

    /// <inheritdoc/>
    public LogitsProcessor this[int index] => _processors[index];

    /// <summary>Applies all of them in order, in place.</summary>
    /// <exception cref="PrefixTorchException">A bias, a penalty or a processor of the caller's made a score infinite or not a number, or left no token; what cuts is not asked about such scores.</exception>
    public void Process(Span<float> scores, LogitsContext context)
    {
        for (int i = 0; i < _processors.Count; i++)
        {
            if (i == _warpers && i > 0)
            {
                LogProbs.CheckedMax(scores, areProcessed: true);
            }

            _processors[i].Process(scores, context);
        }
    }

    /// <inheritdoc/>
    public IEnumerator<LogitsProcessor> GetEnumerator() => _processors.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private void AddProcessors(SamplingOptions options, IReadOnlyList<int> eosTokenIds)
    {
        if (options.SequenceBias is { Count: > 0 } bias)
        {
            _processors.Add(new SequenceBiasLogitsProcessor(bias));
        }

        if (options.RepetitionPenalty is { } penalty and not 1)
        {
            _processors.Add(new RepetitionPenaltyLogitsProcessor(penalty));
        }

        if (options.FrequencyPenalty is not (null or 0) || options.PresencePenalty is not (null or 0))
        {
            _processors.Add(new FrequencyPresencePenaltyLogitsProcessor(options.FrequencyPenalty ?? 0, options.PresencePenalty ?? 0));
        }

        if (options.NoRepeatNgramSize is > 0 and { } size)
        {
            _processors.Add(new NoRepeatNGramLogitsProcessor(size));
        }

        if (options.BadWordsIds is { Count: > 0 } words)
        {
            _processors.Add(new NoBadWordsLogitsProcessor(words, eosTokenIds));
        }

        if (options.MinNewTokens is > 0 and { } least && eosTokenIds.Count > 0)
        {
            _processors.Add(new MinNewTokensLengthLogitsProcessor(least, eosTokenIds));
        }

        if (options.SuppressTokens is { Count: > 0 } suppressed)
        {
            _processors.Add(new SuppressTokensLogitsProcessor(suppressed));
        }
    }

    private void AddWarpers(SamplingOptions options)
    {
        if (options.Temperature is { } temperature and not 1)
        {
            _processors.Add(new TemperatureLogitsWarper(temperature));
        }

        if (options.TopH is { } topH)
        {
            _processors.Add(new TopHLogitsWarper(topH));
        }

        if (options.TopK is > 0 and { } topK)
        {
            _processors.Add(new TopKLogitsWarper(topK));
        }

        if (options.TopP is < 1 and { } topP)
        {
            _processors.Add(new TopPLogitsWarper(topP));
        }

        if (options.MinP is > 0 and { } minP)
        {
            _processors.Add(new MinPLogitsWarper(minP));
        }

        if (options.TypicalP is < 1 and { } mass)
        {
            _processors.Add(new TypicalLogitsWarper(mass));
        }

        if (options.EpsilonCutoff is > 0 and { } epsilon)
        {
            _processors.Add(new EpsilonLogitsWarper(epsilon));
        }

        if (options.EtaCutoff is > 0 and { } eta)
        {
            _processors.Add(new EtaLogitsWarper(eta));
        }
    }
}

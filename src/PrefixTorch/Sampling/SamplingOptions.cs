namespace PrefixTorch.Sampling;

/// <summary>
/// How a token is chosen from logits. Names, meanings and ranges are those of Hugging Face's <c>GenerationConfig</c>; the two
/// penalties it lacks are OpenAI's. What is <see langword="null"/> or at its neutral value is off and costs nothing.
/// </summary>
public record SamplingOptions
{
    /// <summary>Take the most likely token each time (the lowest id where two are equally likely) and draw nothing.</summary>
    public bool Greedy { get; init; }

    /// <summary>
    /// With the branch and the position it decides every draw: the same three give the same token. <see langword="null"/>: a random
    /// seed, which <see cref="Sampler.Seed"/> reports.
    /// </summary>
    public ulong? Seed { get; init; }

    /// <summary>Divides the logits: below 1 sharper, above 1 flatter; 0 is greedy. 1 is off.</summary>
    public float? Temperature { get; init; }

    /// <summary>Keep the k most likely tokens, and those that tie with the last. 0 is off.</summary>
    public int? TopK { get; init; }

    /// <summary>Keep the fewest most likely tokens whose probabilities sum to at least this. 1 is off.</summary>
    public float? TopP { get; init; }

    /// <summary>Keep tokens at least this fraction as likely as the most likely one. 0 is off.</summary>
    public float? MinP { get; init; }

    /// <summary>Keep the tokens whose surprise is closest to the expected one, until they hold this mass. 1 is off.</summary>
    public float? TypicalP { get; init; }

    /// <summary>Keep the most likely of the 100 best tokens until they hold this share of those tokens' entropy.</summary>
    public float? TopH { get; init; }

    /// <summary>Keep tokens at least this likely. 0 is off.</summary>
    public float? EpsilonCutoff { get; init; }

    /// <summary>Like <see cref="EpsilonCutoff"/>, and lower where the distribution is flat. 0 is off.</summary>
    public float? EtaCutoff { get; init; }

    /// <summary>Divides positive and multiplies negative logits of every token in prompt or result, once each. 1 is off.</summary>
    public float? RepetitionPenalty { get; init; }

    /// <summary>
    /// Subtracted from a token's logit for every time it was generated. The prompt does not count, as in vLLM (llama.cpp counts
    /// its last 64 tokens, prompt included): a long held prefix must not silence its own vocabulary. 0 is off.
    /// </summary>
    public float? FrequencyPenalty { get; init; }

    /// <summary>Subtracted once from the logit of every token that was generated. The prompt does not count. 0 is off.</summary>
    public float? PresencePenalty { get; init; }

    /// <summary>No run of this many tokens may occur twice, the prompt included. 0 is off.</summary>
    public int? NoRepeatNgramSize { get; init; }

    /// <summary>No end token before this many new tokens. 0 is off.</summary>
    public int? MinNewTokens { get; init; }

    /// <summary>Sequences of ids that are never completed. End tokens alone are left out of it.</summary>
    public IReadOnlyList<IReadOnlyList<int>>? BadWordsIds { get; init; }

    /// <summary>What to add to a token's logit where it would complete a sequence of ids; of one id: always (OpenAI's <c>logit_bias</c>).</summary>
    public IReadOnlyList<SequenceBias>? SequenceBias { get; init; }

    /// <summary>Ids that are never chosen.</summary>
    public IReadOnlyList<int>? SuppressTokens { get; init; }

    /// <summary>Turn the processed scores into log-probabilities. It changes no draw.</summary>
    public bool RenormalizeLogits { get; init; }

    /// <summary>Processors of your own, applied after the built-in ones and before temperature and the cuts.</summary>
    public IReadOnlyList<LogitsProcessor>? LogitsProcessors { get; init; }

    /// <summary>Whether the most likely token is taken: asked for, or temperature 0.</summary>
    public bool IsGreedy => Greedy || Temperature == 0;

    /// <summary>Checks every value against its range.</summary>
    /// <exception cref="ArgumentException">A value is out of its range; the message names the option, the value and the range.</exception>
    public virtual void Validate()
    {
        Require(nameof(Temperature), Temperature, Temperature is null or (>= 0 and < float.PositiveInfinity), "at least 0 (0 is greedy, 1 is off)");
        Require(nameof(TopK), TopK, TopK is null or >= 0, "at least 0 (0 is off)");
        Require(nameof(TopP), TopP, TopP is null or (>= 0 and <= 1), "between 0 and 1 (1 is off)");
        Require(nameof(MinP), MinP, MinP is null or (>= 0 and <= 1), "between 0 and 1 (0 is off)");
        Require(nameof(TypicalP), TypicalP, TypicalP is null or (> 0 and <= 1), "above 0 and at most 1 (1 is off)");
        Require(nameof(TopH), TopH, TopH is null or (> 0 and <= 1), "above 0 and at most 1 (null is off)");
        Require(nameof(EpsilonCutoff), EpsilonCutoff, EpsilonCutoff is null or (>= 0 and < 1), "at least 0 and below 1 (0 is off)");
        Require(nameof(EtaCutoff), EtaCutoff, EtaCutoff is null or (>= 0 and < 1), "at least 0 and below 1 (0 is off)");
        Require(nameof(RepetitionPenalty), RepetitionPenalty, RepetitionPenalty is null or (> 0 and < float.PositiveInfinity), "above 0 (1 is off, more discourages)");
        Require(nameof(FrequencyPenalty), FrequencyPenalty, FrequencyPenalty is null || float.IsFinite(FrequencyPenalty.Value), "a finite number (0 is off, usually between -2 and 2)");
        Require(nameof(PresencePenalty), PresencePenalty, PresencePenalty is null || float.IsFinite(PresencePenalty.Value), "a finite number (0 is off, usually between -2 and 2)");
        Require(nameof(NoRepeatNgramSize), NoRepeatNgramSize, NoRepeatNgramSize is null or >= 0, "at least 0 (0 is off)");
        Require(nameof(MinNewTokens), MinNewTokens, MinNewTokens is null or >= 0, "at least 0 (0 is off)");
        foreach (int id in SuppressTokens ?? [])
        {
            Require(nameof(SuppressTokens), id, id >= 0, "token ids, at least 0");
        }

        foreach (IReadOnlyList<int> word in BadWordsIds ?? [])
        {
            RequireIds(nameof(BadWordsIds), word);
        }

        foreach (SequenceBias sequence in SequenceBias ?? [])
        {
            RequireIds(nameof(SequenceBias), sequence.Ids);
            Require(nameof(SequenceBias), sequence.Bias, !float.IsNaN(sequence.Bias) && !float.IsPositiveInfinity(sequence.Bias), "a number below infinity");
        }
    }

    /// <summary>Throws what says that an option's value is out of its range.</summary>
    /// <param name="option">The option, as this record spells it.</param>
    /// <param name="value">Its value.</param>
    /// <param name="holds">Whether the value is in range.</param>
    /// <param name="range">The range, to follow "it must be".</param>
    protected static void Require<T>(string option, T value, bool holds, string range)
    {
        if (!holds)
        {
            throw new ArgumentException($"{option} is {value}; it must be {range}.");
        }
    }

    private static void RequireIds(string option, IReadOnlyList<int> ids)
    {
        Require(option, "an empty sequence", ids.Count > 0, "sequences of one token id or more");
        foreach (int id in ids)
        {
            Require(option, id, id >= 0, "token ids, at least 0");
        }
    }
}

using PrefixTorch.Caching;
using PrefixTorch.Configuration;
using PrefixTorch.Sampling;

namespace PrefixTorch.Generation;

/// <summary>How a suffix's text meets the prefix it is appended to.</summary>
public enum Boundary
{
    /// <summary>
    /// As if the texts since the last special or generated token had been tokenized together: where the tokenizer merges across the border, those
    /// tokens are read again. Behind generated tokens or ids the text goes on: the space that SentencePiece puts before a text is not put there.
    /// </summary>
    Exact,

    /// <summary>The suffix is tokenized alone, as at the beginning of a text, without a beginning-of-sequence token.</summary>
    Raw,

    /// <summary>As <see cref="Exact"/>, and an error where the tokenizer merges across the border.</summary>
    Strict,
}

/// <summary>How text is continued: everything about choosing tokens, and when to stop.</summary>
/// <remarks>
/// Where no option of sampling is set, the model's <c>generation_config.json</c> decides, as in Hugging Face's <c>generate</c>: sampling with its
/// temperature and cuts if it says <c>do_sample</c>, greedy otherwise.
/// <para>
/// Where <see cref="SamplingOptions.Seed"/> is null, a sampled generation that stopped (<see cref="KvCache.Run"/>) and is continued with an empty suffix, also
/// from a file, takes its own seed and branch and goes on as if it had never stopped; give the same other options. With new text, or from a prompt, the seed is random.
/// </para>
/// </remarks>
public record GenerationOptions : SamplingOptions
{
    /// <summary>New tokens at most; null: the model's generation_config, or 256.</summary>
    public int? MaxNewTokens { get; init; }

    /// <summary>Texts that end the generation, also where they begin inside one token and end inside another. The text leaves them out.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Ids that end the generation; null: the model's.</summary>
    public IReadOnlyList<int>? EosTokenIds { get; init; }

    /// <summary>Goes on after an end token.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>
    /// Samples of each suffix (<c>n</c>), drawn from one reading of it, which the first one's report counts. For <see cref="Llama.GenerateBranchesAsync(KvCache, IReadOnlyList{string}, GenerationOptions?, Action{int, Token}?, CancellationToken)"/>
    /// alone: what continues one sequence gives one.
    /// </summary>
    public int NumReturnSequences { get; init; } = 1;

    /// <summary>The number that tells this sequence's draws from another's with the same seed; samples and branches count up from it.</summary>
    public long Branch { get; init; }

    /// <summary>How a suffix's text meets the prefix.</summary>
    public Boundary Boundary { get; init; }

    /// <summary>Text of a special token in prompt or suffix becomes the token; otherwise it stays text.</summary>
    public bool ParseSpecial { get; init; }

    /// <summary>The text of special tokens is kept in <see cref="Token.Text"/> and <see cref="Continuation.Text"/>.</summary>
    public bool KeepSpecialTokens { get; init; }

    /// <summary>For each token the so many most likely ones and their log-probabilities.</summary>
    public int LogProbs { get; init; }

    /// <summary>When cancelled, return what there is (<see cref="FinishReason.Cancelled"/>) instead of throwing; a stream of tokens just ends, without a report.</summary>
    public bool KeepOnCancel { get; init; }

    /// <inheritdoc/>
    public override void Validate()
    {
        base.Validate();
        Require(nameof(MaxNewTokens), MaxNewTokens, MaxNewTokens is null or >= 0, "at least 0");
        Require(nameof(NumReturnSequences), NumReturnSequences, NumReturnSequences >= 1, "at least 1");
        Require(nameof(LogProbs), LogProbs, LogProbs >= 0, "at least 0");
        foreach (string stop in Stop)
        {
            Require(nameof(Stop), stop, stop.Length > 0, "texts that are not empty");
        }
    }

    /// <summary>The options with what is open filled in from the model's generation_config.</summary>
    /// <exception cref="PrefixTorchException">The generation_config has a value out of range.</exception>
    internal GenerationOptions Resolve(GenerationConfig config)
    {
        Validate();
        bool undecided = !Greedy && Seed is null && Temperature is null && TopK is null && TopP is null && MinP is null && TypicalP is null
            && TopH is null && EpsilonCutoff is null && EtaCutoff is null;
        GenerationOptions resolved = this with
        {
            MaxNewTokens = MaxNewTokens ?? config.MaxNewTokens ?? 256,
            EosTokenIds = IgnoreEos ? [] : EosTokenIds ?? config.EosTokenIds,
            RepetitionPenalty = RepetitionPenalty ?? (float?)config.RepetitionPenalty,
            NoRepeatNgramSize = NoRepeatNgramSize ?? config.NoRepeatNgramSize,
            MinNewTokens = MinNewTokens ?? config.MinNewTokens,
        };
        if (config.DoSample == true && !Greedy)
        {
            resolved = resolved with
            {
                Temperature = Temperature ?? (float?)config.Temperature,
                TopK = TopK ?? config.TopK,
                TopP = TopP ?? (float?)config.TopP,
                MinP = MinP ?? (float?)config.MinP,
                TypicalP = TypicalP ?? (float?)config.TypicalP,
            };
        }
        else if (undecided)
        {
            resolved = resolved with { Greedy = true };
        }

        try
        {
            resolved.Validate();
            return resolved;
        }
        catch (ArgumentException error)
        {
            // The caller's own values were in range.
            throw new PrefixTorchException($"The model's {GenerationConfig.FileName}: {error.Message} Correct it, or give the option yourself.", error);
        }
    }

    /// <summary>
    /// The options with a seed. A sampled run that stopped and goes on with nothing new in between goes on with its own draws, unless a seed is asked for.
    /// </summary>
    /// <param name="stopped">The generation that chose the last tokens of what is continued, where nothing new is read; otherwise null.</param>
    /// <param name="random">The seed of a new run.</param>
    internal GenerationOptions Seeded(KvRun? stopped, ulong random) =>
        Seed is null && stopped is { Seed: ulong seed } ? this with { Seed = seed, Branch = stopped.Branch + Branch } : this with { Seed = Seed ?? random };
}

/// <summary>How a prompt is read.</summary>
public sealed record PrefillOptions
{
    /// <summary>Text of a special token in the prompt becomes the token; otherwise it stays text.</summary>
    public bool ParseSpecial { get; init; }

    /// <summary>How the text meets a prefix that was there already.</summary>
    public Boundary Boundary { get; init; }

    /// <summary>When cancelled, return what was read so far instead of throwing.</summary>
    public bool KeepOnCancel { get; init; }
}

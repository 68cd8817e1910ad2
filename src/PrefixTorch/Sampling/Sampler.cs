namespace PrefixTorch.Sampling;

/// <summary>
/// Chooses the tokens of one sequence. Used by one thread at a time; the memory it works in is used again at every token.
/// </summary>
/// <remarks>
/// A draw is a function of seed, branch and position: samples differ by branch, repeat exactly, and do not depend on what else
/// runs. The distribution is walked in the order of ids, so that a small change of the logits seldom changes the token.
/// </remarks>
public sealed class Sampler
{
    private readonly LogitsProcessorList _processors;
    private readonly SamplingScratch _scratch = new();
    private readonly int _logProbs;

    /// <summary>A sampler for one sequence.</summary>
    /// <param name="options">How to choose.</param>
    /// <param name="branch">The number of the sequence among those that share the seed.</param>
    /// <param name="eosTokenIds">The end tokens, for the options that treat them apart.</param>
    /// <param name="logProbs">How many of the most likely tokens <see cref="TopLogProbs"/> is to hold.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public Sampler(SamplingOptions options, long branch = 0, IReadOnlyList<int>? eosTokenIds = null, int logProbs = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(logProbs);
        _processors = new LogitsProcessorList(options, eosTokenIds);
        _logProbs = logProbs;
        IsGreedy = options.IsGreedy;
        Seed = options.Seed ?? RandomSeed();
        Branch = branch;
    }

    /// <summary>The seed in use: the one asked for, or the random one.</summary>
    public ulong Seed { get; }

    /// <summary>The number of the sequence among those that share the seed.</summary>
    public long Branch { get; }

    /// <summary>Whether the most likely token is taken each time.</summary>
    public bool IsGreedy { get; }

    /// <summary>The most likely tokens at the last place that was sampled, under the model's own distribution, best first; as many as were asked for.</summary>
    public IReadOnlyList<SampledToken> TopLogProbs { get; private set; } = [];

    /// <summary>A random seed that every JSON reader can hold exactly.</summary>
    public static ulong RandomSeed() => (ulong)Random.Shared.NextInt64(1L << 53);

    /// <summary>Chooses the next token.</summary>
    /// <param name="logits">The model's scores for it, one for each id. They stay as they are.</param>
    /// <param name="ids">Prompt and generated ids so far.</param>
    /// <param name="promptLength">How many of them are the prompt.</param>
    /// <param name="position">The place of the new token in its sequence: what tells this draw from the branch's others.</param>
    /// <exception cref="PrefixTorchException">A logit is not a number, or every token is forbidden.</exception>
    public SampledToken Sample(ReadOnlySpan<float> logits, ReadOnlySpan<int> ids, int promptLength, long position) =>
        Sample(logits, LogitsSummary.Of(logits), ids, promptLength, position);

    /// <summary>The same of logits that have been summed up.</summary>
    internal SampledToken Sample(ReadOnlySpan<float> logits, LogitsSummary summary, ReadOnlySpan<int> ids, int promptLength, long position)
    {
        float max = LogProbs.Check(logits, summary.Max);
        if (_logProbs > 0)
        {
            TopLogProbs = LogProbs.Top(logits, _logProbs, summary.LogSumExp, _scratch);
        }

        ReadOnlySpan<float> scores = logits;
        int best = summary.Best;
        if (_processors.Count > 0)
        {
            Span<float> processed = _scratch.Scores(logits.Length);
            logits.CopyTo(processed);
            _processors.Process(processed, new LogitsContext(ids, promptLength, _scratch));
            max = LogProbs.CheckedMax(processed, areProcessed: true);
            scores = processed;
            best = IsGreedy ? scores.IndexOf(max) : best;
        }

        int id = IsGreedy ? best : Draw(scores, max, position);
        return new SampledToken(id, (float)(logits[id] - summary.LogSumExp));
    }

    private int Draw(ReadOnlySpan<float> scores, float max, long position)
    {
        Span<float> probabilities = _scratch.Floats(scores.Length);
        Span<double> sums = _scratch.Sums(Scores.BlockCount(scores.Length));
        double total = Scores.Exponentials(scores, max, probabilities, sums);
        return InverseCdf(probabilities, sums, Philox.Uniform(Seed, Branch, position) * total);
    }

    /// <summary>The first id up to which the probabilities sum to more than <paramref name="target"/>.</summary>
    private static int InverseCdf(ReadOnlySpan<float> probabilities, ReadOnlySpan<double> sums, double target)
    {
        double below = 0;
        int block = 0;
        while (block < sums.Length - 1 && below + sums[block] <= target)
        {
            below += sums[block++];
        }

        int start = block * Scores.BlockLength;
        int end = Math.Min(start + Scores.BlockLength, probabilities.Length);
        for (int id = start; id < end; id++)
        {
            below += probabilities[id];
            if (below > target)
            {
                return id;
            }
        }

        // The block's sum, added in another order, came out an ulp above its parts: the draw meant the last token that can be.
        return probabilities[..end].LastIndexOfAnyExcept(0f);
    }
}

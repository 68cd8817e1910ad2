namespace PrefixTorch.Sampling;

/// <summary>Log-probabilities under a model's own distribution, from one row of raw logits.</summary>
public static class LogProbs
{
    /// <summary>The log-probability of one token.</summary>
    public static float Of(ReadOnlySpan<float> logits, int id)
    {
        _ = LogitsProcessor.InVocabulary(logits, id);
        return (float)(logits[id] - CheckedSummary(logits).LogSumExp);
    }

    /// <summary>The <paramref name="count"/> most likely tokens, most likely first; the lower id first where two tie.</summary>
    public static SampledToken[] Top(ReadOnlySpan<float> logits, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        return Top(logits, count, CheckedSummary(logits).LogSumExp, new SamplingScratch());
    }

    /// <summary>The most likely token; the lowest id where several are.</summary>
    public static int Best(ReadOnlySpan<float> logits) => logits.IndexOf(CheckedMax(logits));

    /// <summary>
    /// The Kullback–Leibler distance, in nats, from the distribution of <paramref name="from"/> to that of <paramref name="to"/>: what is lost by taking the
    /// second for the first. Infinite where the second forbids what the first does not.
    /// </summary>
    public static double Divergence(ReadOnlySpan<float> from, ReadOnlySpan<float> to)
    {
        if (from.Length != to.Length)
        {
            throw new ArgumentException($"The rows have {from.Length} and {to.Length} logits: both must be of one vocabulary.", nameof(to));
        }

        // In double throughout: near distributions differ in the last places of their logits.
        double fromMax = CheckedMax(from), toMax = CheckedMax(to), fromSum = 0, toSum = 0, weighted = 0;
        for (int id = 0; id < from.Length; id++)
        {
            double mass = Math.Exp(from[id] - fromMax);
            fromSum += mass;
            toSum += Math.Exp(to[id] - toMax);
            weighted += mass == 0 ? 0 : mass * ((double)from[id] - to[id]);
        }

        return Math.Max(0, weighted / fromSum - (fromMax + Math.Log(fromSum)) + toMax + Math.Log(toSum));
    }

    internal static SampledToken[] Top(ReadOnlySpan<float> logits, int count, double logSumExp, SamplingScratch scratch)
    {
        ReadOnlySpan<ulong> keys = TopSelection.Take(logits, count, scratch);
        var top = new SampledToken[keys.Length];
        for (int i = 0; i < keys.Length; i++)
        {
            top[i] = new SampledToken(TopSelection.Id(keys[i]), (float)(TopSelection.Score(keys[i]) - logSumExp));
        }

        return top;
    }

    /// <summary>The largest logit of a row that a token can be chosen from.</summary>
    internal static float CheckedMax(ReadOnlySpan<float> logits, bool areProcessed = false) => Check(logits, Scores.Max(logits), areProcessed);

    /// <summary>The same of its summary.</summary>
    internal static LogitsSummary CheckedSummary(ReadOnlySpan<float> logits)
    {
        var summary = LogitsSummary.Of(logits);
        Check(logits, summary.Max);
        return summary;
    }

    /// <summary>The largest logit, if a token can be chosen by it.</summary>
    internal static float Check(ReadOnlySpan<float> logits, float max, bool areProcessed = false)
    {
        if (float.IsFinite(max))
        {
            return max;
        }

        if (float.IsNegativeInfinity(max))
        {
            throw new PrefixTorchException(logits.IsEmpty
                ? "There are no logits to choose a token from."
                : $"All {logits.Length} logits are negative infinity: no token is left to choose. Loosen what forbids tokens (SuppressTokens, BadWordsIds, SequenceBias, NoRepeatNgramSize, a processor of your own).");
        }

        int id = 0;
        while (!float.IsNaN(logits[id]) && !float.IsPositiveInfinity(logits[id]))
        {
            id++;
        }

        throw new PrefixTorchException(areProcessed
            ? $"The score of token {id} is {logits[id]} after biases, penalties and processors, and no token can be chosen by it. Bring them nearer to where they do nothing."
            : $"The logit of token {id} is {logits[id]}, and no token can be chosen by it. The weights are damaged, or their numbers overflow in this dtype: check the checkpoint, and try float32.");
    }
}

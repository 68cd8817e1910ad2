using PrefixTorch.Caching;
using PrefixTorch.Memory;

namespace PrefixTorch.Generation;

/// <content>Cached against recomputed.</content>
public sealed partial class Llama
{
    private const double Fp32Tolerance = 1e-4;

    // Of the logits' standard deviation. The CPU gives the same bits in any pieces; a device does not. The largest of a
    // million distances, not a typical one: a 135M model in bf16 whose products rounded otherwise came to 0.36 … 0.46 of 0.47 … 0.51 that are allowed.
    private const double LowPrecisionTolerance = 0.125;

    /// <summary>
    /// Shows what a state is worth: continues it with a suffix and some greedy tokens, computes the same from nothing, once in the pieces that the state was
    /// read in and once as a whole, and compares the logits. Takes as long as two fresh reads.
    /// </summary>
    /// <param name="state">The state; it stays as it is.</param>
    /// <param name="suffix">Text to read behind it; null or empty for none.</param>
    /// <param name="options">How much is compared.</param>
    /// <param name="cancellationToken">Ends it, between layers.</param>
    /// <exception cref="PrefixTorchException">The cache is another model's, or there is nothing to compare.</exception>
    public async Task<VerificationReport> VerifyAsync(KvCache state, string? suffix = null, VerificationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(state);
        options ??= new();
        ArgumentOutOfRangeException.ThrowIfNegative(options.NewTokens, nameof(options));
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        CheckOwner(state);
        using KvCache cached = state.CloneFor(this);
        return await Task.Run(() => Verify(cached, suffix ?? "", options, cancellationToken), cancellationToken).ConfigureAwait(false);
    }

    private async Task<VerificationReport> Verify(KvCache cached, string suffix, VerificationOptions options, CancellationToken cancellationToken)
    {
        cached.EnsureEvaluated();
        SuffixPlan plan = PlanOf(cached, Prompt.Of(suffix), options.Boundary, options.ParseSpecial);
        cached.Truncate(plan.Keep);
        int length = plan.Keep, total = length + plan.Ids.Length;
        int[] ids = [.. cached.Tokens, .. plan.Ids];
        if (total == 0 || options.NewTokens + plan.Ids.Length == 0)
        {
            throw new PrefixTorchException("There is nothing to compare: give a state, and a suffix or some new tokens.");
        }

        // The first place compared is the first token of the suffix; without one, the last of the state, whose logits choose the next.
        int first = plan.Ids.Length > 0 ? length : length - 1;
        int newTokens = Math.Min(options.NewTokens, Config.MaxPositionEmbeddings - total);
        List<int> starts = [.. PiecesOf(cached.PassStarts), .. Grid(length, total)];
        using KvCache before = cached.Clone();
        List<float[]> expected = [];
        if (plan.Ids.Length == 0 && cached.Logits is float[] logits)
        {
            expected.Add(logits);
        }
        else
        {
            cached.Truncate(first);
            await ReadAsync(cached, ids, Grid(first, total), first, expected, cancellationToken).ConfigureAwait(false);
        }

        List<int> chosen = [];
        for (int i = 0; i < newTokens; i++)
        {
            chosen.Add(Best(expected[^1]));
            await ReadAsync(cached, [.. ids, .. chosen], [total + i], first, expected, cancellationToken).ConfigureAwait(false);
        }

        int[] all = [.. ids, .. chosen];
        IEnumerable<int> decoded = Enumerable.Range(total, newTokens);
        VerificationComparison replay = await CompareAsync(before, all, [.. starts], [.. decoded], first, expected, cancellationToken).ConfigureAwait(false);
        VerificationComparison whole = await CompareAsync(before, all, [.. Grid(0, total)], [.. decoded], first, expected, cancellationToken).ConfigureAwait(false);
        double tolerance = Options is { DType: DType.Float32, KvDType: DType.Float32 } ? Fp32Tolerance : LowPrecisionTolerance * expected.Max(Deviation);
        VerificationVerdict verdict = !IsWithin(replay, tolerance) || (ReadsAsItDecodes && !IsWithin(whole, tolerance)) ? VerificationVerdict.OutOfTolerance
            : replay.SameBits ? VerificationVerdict.BitForBit
            : VerificationVerdict.WithinTolerance;
        return new VerificationReport(length, plan.Ids.Length, expected.Count, replay, whole, tolerance, verdict);
    }

    // Computes everything again, in the given pieces and then token by token, and compares as it goes.
    private async Task<VerificationComparison> CompareAsync(KvCache state, int[] ids, int[] starts, int[] decoded, int first, List<float[]> expected, CancellationToken cancellationToken)
    {
        using var fresh = new KvCache(this);
        List<float[]> found = [];
        await ReadAsync(fresh, ids[..^decoded.Length], starts, first, found, cancellationToken).ConfigureAwait(false);
        bool same = KvRows.SameBits(state.Segments, fresh.Segments, state.Length, _layout) == state.Length;
        foreach (int position in decoded)
        {
            await ReadAsync(fresh, ids[..(position + 1)], [position], first, found, cancellationToken).ConfigureAwait(false);
        }

        double largest = 0;
        TokenDifference? difference = null;
        for (int i = 0; i < expected.Count; i++)
        {
            same &= expected[i].AsSpan().SequenceEqual(found[i]);
            for (int id = 0; id < expected[i].Length; id++)
            {
                largest = Math.Max(largest, Math.Abs(expected[i][id] - found[i][id]));
            }

            int one = Best(expected[i]), other = Best(found[i]);
            difference ??= one == other ? null : new TokenDifference(first + 1 + i, one, other, expected[i][one] - expected[i][other]);
        }

        return new VerificationComparison(starts.Length, largest, same, difference);
    }

    // Reads what the cache has not yet, a pass from each of the given places to the next, and keeps the logits from the first place compared on.
    private async Task ReadAsync(KvCache cache, int[] ids, IReadOnlyList<int> starts, int first, List<float[]> logits, CancellationToken cancellationToken)
    {
        for (int i = 0; i < starts.Count; i++)
        {
            int start = starts[i], end = i + 1 < starts.Count ? starts[i + 1] : ids.Length;
            float[] rows = await _engine.CallAsync(() => _engine.Compute(cache, ids.AsSpan(start, end - start), new TokenOrigin[end - start], first - start, ids.Length - end, cancellationToken)).ConfigureAwait(false);
            if (end > first)
            {
                logits.AddRange(rows.Chunk(Config.VocabSize));
            }
        }
    }

    // Where passes begin from one place to another: there, and at the borders of the grid.
    private List<int> Grid(int from, int to)
    {
        List<int> starts = [];
        for (int at = from; at < to; at += Options.PrefillChunk - at % Options.PrefillChunk)
        {
            starts.Add(at);
        }

        return starts;
    }

    // The pieces that the tokens were read in; where that is not known, or by a model of larger chunks, those of the grid.
    private IEnumerable<int> PiecesOf(bool[] passStarts)
    {
        for (int at = 0; at < passStarts.Length;)
        {
            int next = at + 1;
            while (next < passStarts.Length && !passStarts[next])
            {
                next++;
            }

            foreach (int start in Grid(at, next))
            {
                yield return start;
            }

            at = next;
        }
    }

    private static bool IsWithin(VerificationComparison comparison, double tolerance) =>
        comparison.LargestDistance <= tolerance && (comparison.FirstDifference is null || comparison.FirstDifference.Margin <= 2 * tolerance);

    private static int Best(float[] logits) => logits.AsSpan().IndexOf(logits.Max());

    private static double Deviation(float[] logits)
    {
        double mean = logits.Average();
        return Math.Sqrt(logits.Average(logit => (logit - mean) * (logit - mean)));
    }
}

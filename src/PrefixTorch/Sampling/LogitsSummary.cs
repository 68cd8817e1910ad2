namespace PrefixTorch.Sampling;

/// <summary>What the choice of a token needs to know of a whole row of logits.</summary>
/// <param name="Max">The largest; NaN where any logit is.</param>
/// <param name="Best">The lowest id that has it.</param>
/// <param name="LogSumExp">The logarithm of the sum of all logits' exponentials: what turns a logit into a log-probability.</param>
/// <remarks>
/// A row is summed up in blocks, so that threads can share it out: each block's exponentials relative to its own largest logit, and then all of them relative to
/// the row's, as blocks of attention are merged. Blocks are the same on every machine, and merged in order: so are the bits.
/// </remarks>
internal readonly record struct LogitsSummary(float Max, int Best, double LogSumExp)
{
    /// <summary>Logits of a block: they stay in the first cache level.</summary>
    public const int BlockLength = 4096;

    private const int FewBlocks = 64;

    /// <summary>Blocks of a row.</summary>
    public static int Blocks(int length) => (length + BlockLength - 1) / BlockLength;

    /// <summary>Sums up a row.</summary>
    public static LogitsSummary Of(ReadOnlySpan<float> logits)
    {
        int blocks = Blocks(logits.Length);
        Span<Part> parts = blocks <= FewBlocks ? stackalloc Part[blocks] : new Part[blocks];
        for (int block = 0; block < blocks; block++)
        {
            parts[block] = Part.Of(logits, block);
        }

        return Merge(logits, parts);
    }

    /// <summary>A row's summary from those of all its blocks.</summary>
    public static LogitsSummary Merge(ReadOnlySpan<float> logits, ReadOnlySpan<Part> parts)
    {
        float max = float.NegativeInfinity;
        foreach (Part part in parts)
        {
            max = MathF.Max(max, part.Max);
        }

        double sum = 0;
        int best = -1;
        for (int block = 0; block < parts.Length; block++)
        {
            sum += parts[block].Sum * Math.Exp(parts[block].Max - max);
            best = best < 0 && parts[block].Max == max ? (block * BlockLength) + Block(logits, block).IndexOf(max) : best;
        }

        return new(max, best, max + Math.Log(sum));
    }

    private static ReadOnlySpan<float> Block(ReadOnlySpan<float> logits, int block) =>
        logits.Slice(block * BlockLength, Math.Min(BlockLength, logits.Length - (block * BlockLength)));

    /// <summary>A block's part in it.</summary>
    /// <param name="Max">The largest of its logits.</param>
    /// <param name="Sum">The sum of <c>exp(logit − Max)</c>.</param>
    public readonly record struct Part(float Max, double Sum)
    {
        /// <summary>Sums up one block of a row.</summary>
        public static Part Of(ReadOnlySpan<float> logits, int block)
        {
            ReadOnlySpan<float> some = Block(logits, block);
            float max = Scores.Max(some);

            // Where all are forbidden there is nothing to be relative to.
            return new(max, float.IsNegativeInfinity(max) ? 0 : Scores.SumExp(some, max));
        }
    }
}

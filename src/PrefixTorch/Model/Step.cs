using PrefixTorch.Caching;

namespace PrefixTorch.Model;

/// <summary>The rows of one sequence in a step.</summary>
/// <param name="Append">The slots that its new tokens' keys and values go to, behind the sequence's past.</param>
/// <param name="FirstRow">Its first row in the step.</param>
internal readonly record struct StepSlice(KvAppend Append, int FirstRow)
{
    /// <summary>New tokens of the sequence.</summary>
    public int Count => Append.Count;

    /// <summary>The absolute position of its first new token.</summary>
    public int Start => Append.Start;
}

/// <summary>
/// What one forward pass computes: new tokens of any number of sequences, laid end to end and never padded, each sequence with its own past.
/// Prefill, decoding, many branches and many users are all this.
/// </summary>
internal sealed class Step
{
    /// <summary>Up to this many new tokens a sequence counts as few rows: its attention is shared out by blocks of keys.</summary>
    public const int FewRows = 16;

    /// <summary>A step over the given appends.</summary>
    /// <param name="appends">One for each sequence.</param>
    /// <param name="ids">The new tokens of all sequences, end to end.</param>
    /// <param name="logitRows">The rows whose logits are wanted, ascending.</param>
    public Step(IReadOnlyList<KvAppend> appends, int[] ids, int[] logitRows)
    {
        Ids = ids;
        LogitRows = logitRows;
        Slices = new StepSlice[appends.Count];
        Positions = new int[ids.Length];
        IsFew = true;
        int row = 0;
        for (int i = 0; i < Slices.Length; i++)
        {
            Slices[i] = new StepSlice(appends[i], row);
            IsFew &= appends[i].Count <= FewRows;
            for (int t = 0; t < appends[i].Count; t++)
            {
                Positions[row++] = appends[i].Start + t;
            }
        }

        if (row != ids.Length)
        {
            throw new ArgumentException($"The appends hold {row} tokens and there are {ids.Length} ids.", nameof(ids));
        }
    }

    /// <summary>The sequences.</summary>
    public StepSlice[] Slices { get; }

    /// <summary>Token ids, one per row.</summary>
    public int[] Ids { get; }

    /// <summary>Absolute positions, one per row.</summary>
    public int[] Positions { get; }

    /// <summary>The rows whose logits are wanted.</summary>
    public int[] LogitRows { get; }

    /// <summary>Rows of the step (T).</summary>
    public int Rows => Ids.Length;

    /// <summary>Whether every sequence brings few rows.</summary>
    public bool IsFew { get; }
}

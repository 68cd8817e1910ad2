namespace PrefixTorch.Kernels.Tiles;

/// <summary>How rows of pairs of bf16 meet keys and values: by vectors or by tiles.</summary>
internal unsafe interface IPairs
{
    /// <summary>Rows at most that are multiplied at once.</summary>
    static abstract int MostRows { get; }

    /// <summary>How many times sixteen columns at most they meet at once.</summary>
    static abstract int MostRegisters { get; }

    /// <summary>Scores of queries against the first <paramref name="limit"/> keys of some runs; those of one query begin <paramref name="pitch"/> floats after those of the one before.</summary>
    /// <param name="runs">Where keys lie.</param>
    /// <param name="limit">How far the furthest query sees; scores of what another one does not see are undefined.</param>
    /// <param name="headDim">D.</param>
    /// <param name="queries">The queries.</param>
    /// <param name="rounded">Their values, <c>[count, D]</c> in bf16.</param>
    /// <param name="count">How many.</param>
    /// <param name="scores">Takes the scores.</param>
    /// <param name="pitch">A multiple of sixteen: what stands behind the last score of a query is overwritten up to there.</param>
    static abstract void Scores<TElement>(KeyValueRun* runs, int limit, int headDim, AttentionQuery* queries, ushort* rounded, int count, float* scores, int pitch)
        where TElement : struct, IElement;

    /// <summary>Gets ready to multiply so many rows by panels of values, until <see cref="End"/>.</summary>
    static abstract void Begin(int rows);

    /// <summary>Fills up a panel of so many pairs of values, <c>[pairs, D]</c>, with zeros. Returns how many pairs are multiplied.</summary>
    static abstract int Fill(uint* panel, int pairs, int headDim);

    /// <summary>Some rows by so many times sixteen columns; the arguments are as <see cref="PairTileEmitter"/> has them, and steps are pairs.</summary>
    static abstract void Multiply(int rows, int registers, TileArguments* arguments);

    /// <summary>Lets go of what <see cref="Begin"/> took.</summary>
    static abstract void End();
}

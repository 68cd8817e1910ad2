namespace PrefixTorch.Kernels.Tiles;

/// <summary>What a tile computes at once: rows of activations times outputs, as many as 32 registers hold.</summary>
/// <param name="Source">What the weights are.</param>
/// <param name="Rows">Rows of activations.</param>
/// <param name="Outputs">Rows of weights.</param>
internal readonly record struct TileShape(TileSource Source, int Rows, int Outputs)
{
    /// <summary>Outputs of a tile at most.</summary>
    public const int MostOutputs = 4;

    /// <summary>Rows of a tile at most.</summary>
    public const int MostRows = 7;

    // bf16: 24 sums, four weights and an activation. Codes: 12 or 14 products, so many sums, four weights or two, a mask and an activation.
    private const int FloatRows = 6;
    private const int FewCodeRows = 3;

    /// <summary>The largest tiles of a product of so many rows: four outputs where weights come from memory, two of codes where they must be unpacked for few rows each.</summary>
    public static TileShape For(TileSource source, int rows) => source switch
    {
        TileSource.BFloat16 => new(source, FloatRows, MostOutputs),
        _ => rows <= FewCodeRows ? new(source, FewCodeRows, MostOutputs) : new(source, MostRows, MostOutputs / 2),
    };

    /// <summary>Whether a product of so many rows is bound by the memory that weights come from.</summary>
    public bool IsForFew(int rows) => rows <= Rows && Outputs == MostOutputs;

    /// <summary>How many tiles so many rows take.</summary>
    public int TilesOf(int rows) => (rows + Rows - 1) / Rows;
}

namespace PrefixTorch.Kernels.Tiles;

/// <summary>One K block of a product.</summary>
/// <param name="WeightOffset">Bytes from a row of weights' begin to the block's.</param>
/// <param name="ActivationOffset">Elements in a row of activations.</param>
/// <param name="Steps">Whole steps of the block.</param>
/// <param name="TailMask">The elements behind them.</param>
/// <param name="IsFirst">Whether it is a product's first block.</param>
internal readonly record struct KPart(long WeightOffset, int ActivationOffset, int Steps, uint TailMask, bool IsFirst);

/// <summary>How a kind of weights lies in memory, in bytes and steps: a step is what a tile's loop reads of each row.</summary>
/// <param name="StepElements">Weights.</param>
/// <param name="StepBytes">Their bytes.</param>
/// <param name="StepActivations">Sixteen-bit elements of a row of activations that meet them.</param>
/// <param name="Padded">Weights of a row, those that fill up its last step included where rows are padded.</param>
internal readonly unsafe record struct TileLayout(int StepElements, int StepBytes, int StepActivations, int Padded)
{
    /// <summary>Bytes of a row.</summary>
    public long Pitch => (long)Padded * StepBytes / StepElements;

    /// <summary>The layout of weights of <paramref name="columns"/> columns.</summary>
    public static TileLayout Of(TileSource source, int columns) => source switch
    {
        // Rows of bf16 end where they end.
        TileSource.BFloat16 => new(32, 64, 32, columns),
        TileSource.Int8 => new(64, 64, 64, CodeFormat.Int8Blocks(columns) * CodeFormat.Int8Block),
        TileSource.Int4 => new(CodeFormat.Int4Block, CodeFormat.Int4BlockBytes, TileRows.Int4Block, CodeFormat.Int4Blocks(columns) * CodeFormat.Int4Block),
        _ => new(CodeFormat.Int4Block, TileWidening.WidenedInt4BlockBytes, TileRows.Int4Block, CodeFormat.Int4Blocks(columns) * CodeFormat.Int4Block),
    };

    /// <summary>The K block that begins at weight <paramref name="k"/>.</summary>
    public KPart Part(int k)
    {
        int length = Math.Min(TileProduct.KBlock, Padded - k), tail = length % StepElements;
        return new((long)k / StepElements * StepBytes, k / StepElements * StepActivations, length / StepElements, (uint)((1UL << tail) - 1), k == 0);
    }

    /// <summary>The arguments of a tile, but for weights, output and what is asked for ahead.</summary>
    public TileArguments Arguments(KPart part, ushort* x, long xPitch, int row, int yStride) => new()
    {
        WeightPitch = Pitch,
        X = (ushort*)((byte*)x + (row * xPitch)) + part.ActivationOffset,
        XPitch = xPitch,
        Steps = part.Steps,
        TailMask = part.TailMask,
        Adds = part.IsFirst ? 0u : 1u,
        YPitch = (long)yStride * sizeof(float),
    };
}

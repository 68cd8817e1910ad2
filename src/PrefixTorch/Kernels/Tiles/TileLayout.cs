namespace PrefixTorch.Kernels.Tiles;

/// <summary>One K block of a product.</summary>
/// <param name="WeightOffset">Bytes from a row of weights' begin to the block's.</param>
/// <param name="ActivationOffset">The same in a row of activations.</param>
/// <param name="Steps">Whole steps of the block.</param>
/// <param name="TailMask">The elements behind them.</param>
/// <param name="IsFirst">Whether it is a product's first block.</param>
internal readonly record struct KPart(long WeightOffset, long ActivationOffset, int Steps, uint TailMask, bool IsFirst);

/// <summary>How a kind of weights lies in memory: a step is what a tile's inner loop reads of each row.</summary>
/// <param name="StepElements">Weights.</param>
/// <param name="StepBytes">Their bytes.</param>
/// <param name="ActivationElements">Of the activations, so many …</param>
/// <param name="ActivationBytes">… take so many bytes.</param>
/// <param name="Padded">Weights of a row, those that fill up its last step included where rows are padded.</param>
internal readonly unsafe record struct TileLayout(int StepElements, int StepBytes, int ActivationElements, int ActivationBytes, int Padded)
{
    /// <summary>Bytes of a row.</summary>
    public long Pitch => (long)Padded * StepBytes / StepElements;

    /// <summary>The layout of weights of <paramref name="columns"/> columns.</summary>
    public static TileLayout Of(TileSource source, int columns) => source switch
    {
        // Rows of bf16 end where they end.
        TileSource.BFloat16 => new(32, 64, 1, sizeof(ushort), columns),
        _ => new(CodeFormat.Int8Block, CodeFormat.Int8Block, CodedRows.Block, CodedRows.BlockBytes, CodeFormat.Int8Blocks(columns) * CodeFormat.Int8Block),
    };

    /// <summary>The K block that begins at weight <paramref name="k"/>.</summary>
    public KPart Part(int k)
    {
        int length = Math.Min(TileProduct.KBlock, Padded - k), tail = length % StepElements;
        return new((long)k / StepElements * StepBytes, (long)k / ActivationElements * ActivationBytes, length / StepElements, (uint)((1UL << tail) - 1), k == 0);
    }

    /// <summary>The arguments of a tile, but for weights, output and what is asked for ahead.</summary>
    public TileArguments Arguments(KPart part, byte* x, long xPitch, int row, int yStride) => new()
    {
        WeightPitch = Pitch,
        X = x + (row * xPitch) + part.ActivationOffset,
        XPitch = xPitch,
        Steps = part.Steps,
        TailMask = part.TailMask,
        Adds = part.IsFirst ? 0u : 1u,
        YPitch = (long)yStride * sizeof(float),
    };
}

namespace PrefixTorch.Kernels.Tiles;

/// <summary>One K block of a product.</summary>
/// <param name="WeightOffset">Bytes from a row of weights' begin to the block's.</param>
/// <param name="ScaleOffset">The same in a row of scales.</param>
/// <param name="ActivationOffset">Elements in a row of activations.</param>
/// <param name="Steps">Whole steps of the block.</param>
/// <param name="TailMask">The elements behind them.</param>
/// <param name="IsFirst">Whether it is a product's first block.</param>
internal readonly record struct KPart(long WeightOffset, long ScaleOffset, int ActivationOffset, int Steps, uint TailMask, bool IsFirst);

/// <summary>How a kind of weights lies in memory, in bytes and steps.</summary>
/// <param name="StepBytes">Bytes of a row that one step reads.</param>
/// <param name="StepElements">Elements of a row that one step reads.</param>
/// <param name="Pitch">Bytes of a row.</param>
/// <param name="ScalePitch">Bytes of a row's scales, of int4.</param>
internal readonly unsafe record struct TileLayout(int StepBytes, int StepElements, long Pitch, long ScalePitch)
{
    /// <summary>The layout of a matrix.</summary>
    public static TileLayout Of(TileWeights w)
    {
        int blocks = CodeFormat.Blocks(w.Columns);
        return w.Source switch
        {
            TileSource.BFloat16 => new(TileEmitter.StepElements * sizeof(ushort), TileEmitter.StepElements, (long)w.Columns * sizeof(ushort), 0),
            TileSource.Int8 => new(TileEmitter.StepElements, TileEmitter.StepElements, (long)blocks * CodeFormat.Block, 0),
            TileSource.Int4 => new(CodeFormat.Int4BlockBytes, CodeFormat.Block, (long)blocks * CodeFormat.Int4BlockBytes, (long)blocks * CodeFormat.Groups * sizeof(ushort)),
            _ => new(CodeFormat.Block * sizeof(ushort), CodeFormat.Block, (long)blocks * CodeFormat.Block * sizeof(ushort), 0),
        };
    }

    /// <summary>Steps of a whole row, begun ones not counted.</summary>
    public int StepsOf(int columns) => Padded(columns) / StepElements;

    /// <summary>The K block that begins at element <paramref name="k"/>.</summary>
    public KPart Part(int columns, int k)
    {
        int length = Math.Min(TileProduct.KBlock, Padded(columns) - k), steps = length / StepElements, tail = length % StepElements;
        return new(
            (long)k / StepElements * StepBytes, (long)k / CodeFormat.Group * sizeof(ushort), k, steps, (uint)((1UL << tail) - 1), k == 0);
    }

    /// <summary>The arguments of a tile, but for weights, scales, output and what is asked for ahead.</summary>
    public TileArguments Arguments(KPart part, ushort* x, long xPitch, int row, int yStride) => new()
    {
        WeightPitch = Pitch,
        ScalePitch = ScalePitch,
        X = (ushort*)((byte*)x + (row * xPitch)) + part.ActivationOffset,
        XPitch = xPitch,
        Steps = part.Steps,
        TailMask = part.TailMask,
        Adds = part.IsFirst ? 0u : 1u,
        YPitch = (long)yStride * sizeof(float),
    };

    // Rows of codes are padded to whole blocks; rows of bf16 end where they end.
    private int Padded(int columns) => StepElements == TileEmitter.StepElements && StepBytes == StepElements * sizeof(ushort) ? columns : CodeFormat.Blocks(columns) * CodeFormat.Block;
}

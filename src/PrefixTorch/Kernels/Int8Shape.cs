namespace PrefixTorch.Kernels;

/// <summary>Eight products that are computed together, each in a register of its own; the sums of an output's rows stand side by side.</summary>
internal interface IInt8Tile
{
    /// <summary>Rows.</summary>
    static abstract int Rows { get; }

    /// <summary>Outputs.</summary>
    static abstract int Outputs { get; }
}

/// <summary>Eight rows and one output, whose codes are taken apart once for all of them.</summary>
internal readonly struct EightByOne : IInt8Tile
{
    public static int Rows => 8;

    public static int Outputs => 1;
}

/// <summary>Four rows and two outputs.</summary>
internal readonly struct FourByTwo : IInt8Tile
{
    public static int Rows => 4;

    public static int Outputs => 2;
}

/// <summary>How products of int8 are cut.</summary>
internal static class Int8Shape
{
    /// <summary>The most rows of a tile.</summary>
    public const int MostRows = 8;

    /// <summary>So few rows are worth a tile of eight, although it computes all eight.</summary>
    public const int FewestByEight = 7;

    /// <summary>So few rows go together at all, rather than one after the other.</summary>
    public const int FewestTogether = 4;

    /// <summary>Outputs whose codes meet all rows before the next ones' do.</summary>
    public const int Group = 32;

    /// <summary>Bytes of a tile's activations that meet all outputs of a group before the next ones do, so that they stay in the first cache level.</summary>
    public const int Stretch = 20 << 10;
}

namespace PrefixTorch.Kernels.Panels;

/// <summary>How products with panels are cut.</summary>
internal static class PanelShape
{
    /// <summary>Outputs whose sums stand side by side.</summary>
    public const int OutputsAtOnce = 64;

    /// <summary>Panels of these, which a single row meets side by side.</summary>
    public const int PanelsAtOnce = OutputsAtOnce / CodeFormat.Panel;

    /// <summary>How many blocks ahead panels are asked for.</summary>
    public const int BlocksAhead = 8;

    /// <summary>The same in bytes.</summary>
    public const int BytesAhead = BlocksAhead * CodeFormat.Int4BlockBytes;

    private const int BytesPerBlock = 1 << 16;

    /// <summary>How many outputs a thread should take at a time: of several rows what it streams in a few microseconds, and of one the panels that are read side by side.</summary>
    public static int OutputsPerBlock(int rows, int columns) =>
        rows is 1 or > GroupRows.MostWidth ? OutputsAtOnce : (int)Math.Max(1, BytesPerBlock / CodeFormat.PanelBytes(columns)) * CodeFormat.Panel;
}

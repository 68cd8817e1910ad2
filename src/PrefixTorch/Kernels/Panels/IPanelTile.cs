using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Panels;

/// <summary>What multiplies some rows and a panel: all give the same bits for the same rows.</summary>
internal unsafe interface IPanelTile
{
    /// <summary>
    /// Products of so many rows, <see cref="GroupRows.MostWidth"/> at most. <see cref="TileArguments.Weights"/> is a panel's block, and <see cref="TileArguments.Steps"/> so many of them are multiplied; <see cref="TileArguments.X"/> the first row's
    /// values of its first group, <see cref="TileArguments.XScales"/> that row's scale there, and <see cref="TileArguments.XPitch"/> leads to the next group. Sums, sixteen to a row, are added to <see cref="TileArguments.Y"/> or replace what is there.
    /// </summary>
    static abstract void Multiply(int rows, TileArguments* arguments);

    /// <summary>
    /// The same of one row and so many panels, at most <see cref="PanelShape.PanelsAtOnce"/>, <see cref="TileArguments.WeightPitch"/> apart: what comes to <see cref="TileArguments.Y"/>, sixteen sums for each panel, replaces what is there.
    /// </summary>
    static abstract void MultiplyRow(int panels, TileArguments* arguments);
}

/// <summary>By vectors of bytes: see <see cref="PanelEmitter"/> and <see cref="PanelRowEmitter"/>.</summary>
internal readonly unsafe struct ByteTile : IPanelTile
{
    public static void Multiply(int rows, TileArguments* arguments) => TileCode.GetPanel(rows)(arguments);

    public static void MultiplyRow(int panels, TileArguments* arguments) => TileCode.GetPanelRow(panels)(arguments);
}

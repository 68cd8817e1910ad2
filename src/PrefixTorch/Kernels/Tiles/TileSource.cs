namespace PrefixTorch.Kernels.Tiles;

/// <summary>What a tile reads its weights from.</summary>
internal enum TileSource
{
    /// <summary>bf16, in order, which meet bf16 activations.</summary>
    BFloat16,

    /// <summary>Signed bytes in order, which meet activations as <see cref="CodedRows"/> lays them.</summary>
    Int8,

    /// <summary>Four-bit codes in panels, which are read otherwise: see <see cref="Panels.PanelProduct{TTile}"/>.</summary>
    Int4,
}

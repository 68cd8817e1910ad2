namespace PrefixTorch.Kernels.Tiles;

/// <summary>What a tile reads its weights from.</summary>
internal enum TileSource
{
    /// <summary>bf16, in order.</summary>
    BFloat16,

    /// <summary>Signed bytes in order, made bf16 in registers, which holds all of them exactly.</summary>
    Int8,

    /// <summary>Four-bit codes as <see cref="CodeFormat"/> lays them: a grouped tile, whose blocks of 128 have four scales.</summary>
    Int4,

    /// <summary>The codes of a grouped tile as bf16, each block's in the order that <see cref="Int4"/> meets them.</summary>
    GroupedBFloat16,
}

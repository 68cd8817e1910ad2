namespace PrefixTorch.Kernels.Tiles;

/// <summary>What a tile reads its weights from.</summary>
internal enum TileSource
{
    /// <summary>bf16, in order.</summary>
    BFloat16,

    /// <summary>Signed bytes in order, made bf16 in registers, which holds all of them exactly.</summary>
    Int8,

    /// <summary>Four-bit codes as <see cref="CodeFormat"/> lays them: a grouped tile, in which each lane has its own scale and zero point over a block.</summary>
    Int4,

    /// <summary>The same codes as <see cref="TileWidening"/> leaves them: bf16 behind a block's factors in fp32.</summary>
    GroupedBFloat16,
}

using System.Runtime.InteropServices;

namespace PrefixTorch.Kernels.Amx;

/// <summary>What <c>ldtilecfg</c> reads: how many rows, and bytes of a row, each of the eight tile registers has.</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal unsafe struct AmxShape
{
    /// <summary>Tile registers.</summary>
    public const int Tiles = 8;

    /// <summary>Rows of a tile at most.</summary>
    public const int MostRows = 16;

    /// <summary>Bytes of a row at most.</summary>
    public const int RowBytes = 64;

    /// <summary>Bytes of a whole tile.</summary>
    public const int TileBytes = MostRows * RowBytes;

    private readonly byte _palette;
    private readonly byte _startRow;
    private fixed byte _reserved[14];
    private fixed ushort _rowBytes[16];
    private fixed byte _rows[16];

    /// <summary>The shapes of a product: a first factor of so many rows of so many bytes by a second one, four bytes of k to a row, of rows of <paramref name="columnBytes"/>.</summary>
    public AmxShape(int rows, int depthBytes, int columnBytes)
    {
        // What is reserved must be zero, and is not where locals are not cleared.
        this = default;
        _palette = 1;
        for (int tile = 0; tile < Tiles; tile++)
        {
            bool isFactor = tile >= AmxTileEmitter.First, isSecond = tile >= AmxTileEmitter.Second;
            _rows[tile] = (byte)(isSecond ? depthBytes / sizeof(int) : rows);
            _rowBytes[tile] = (ushort)(isFactor && !isSecond ? depthBytes : columnBytes);
        }
    }

    /// <summary>How many tiles so many rows take.</summary>
    public static int TilesOf(int rows) => (rows + MostRows - 1) / MostRows;
}

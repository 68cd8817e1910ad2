using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// bf16 activations as <see cref="AmxTileEmitter"/> reads them: rows are taken sixteen at a time, the last ones filled up with zeros, or all together
/// where they are fewer; of these <c>[K / 2, rows]</c> pairs of neighbours in k, K filled up to whole steps.
/// </summary>
/// <remarks>
/// <para>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</para>
/// </remarks>
/// <param name="data">The memory.</param>
/// <param name="rows">Rows.</param>
/// <param name="columns">Columns of k.</param>
internal readonly unsafe struct AmxRows(byte* data, int rows, int columns)
{
    // A whole register is written where fewer rows stand.
    private const int Slack = AmxShape.RowBytes;

    // Columns of k that are turned at a time.
    private const int Piece = 512;

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Columns of k.</summary>
    public int Columns => columns;

    /// <summary>Columns, filled up.</summary>
    public int Padded => PaddedOf(columns);

    /// <summary>Rows of a tile.</summary>
    public int Width => Math.Min(rows, AmxShape.MostRows);

    /// <summary>Tiles of rows.</summary>
    public int Tiles => AmxShape.TilesOf(rows);

    /// <summary>Bytes from one pair of columns to the next.</summary>
    public long Pitch => Width * sizeof(uint);

    /// <summary>Bytes from one tile to the next.</summary>
    public long TilePitch => Padded / 2 * Pitch;

    /// <summary>How many pieces of rows and columns there are to fill.</summary>
    public int Pieces => Tiles * PiecesOfTile;

    // Narrow rows overwrite what stands behind them, so they are filled in order.
    private int PiecesOfTile => Width < AmxShape.MostRows ? 1 : (Padded + Piece - 1) / Piece;

    /// <summary>Memory for so many rows.</summary>
    public static long Bytes(int rows, int columns) => ((long)AmxShape.TilesOf(rows) * Math.Min(rows, AmxShape.MostRows) * PaddedOf(columns) * sizeof(ushort)) + Slack;

    /// <summary>A tile from column <paramref name="k"/> on, which is a multiple of two.</summary>
    public byte* At(int tile, int k) => data + (tile * TilePitch) + (k / 2 * Pitch);

    /// <summary>Fills one piece from rows of bf16, so many bytes apart. Pieces may be filled by different threads.</summary>
    [SkipLocalsInit]
    public void Fill(int piece, byte* from, long fromPitch)
    {
        if (Width == 1)
        {
            new Span<byte>(data, Padded * sizeof(ushort)).Clear();
            new ReadOnlySpan<byte>(from, columns * sizeof(ushort)).CopyTo(new Span<byte>(data, columns * sizeof(ushort)));
            return;
        }

        int tile = piece / PiecesOfTile, first = piece % PiecesOfTile * Piece, end = PiecesOfTile == 1 ? Padded : Math.Min(Padded, first + Piece);
        int some = Math.Min(AmxShape.MostRows, rows - (tile * AmxShape.MostRows));
        from += tile * AmxShape.MostRows * fromPitch;
        byte* padded = stackalloc byte[AmxShape.TileBytes];
        for (int k = first; k < end; k += AmxTileEmitter.Step)
        {
            byte* square = from + (k * sizeof(ushort));
            long pitch = fromPitch;
            if (k + AmxTileEmitter.Step > columns)
            {
                AmxTile.Pad(square, fromPitch, some, Math.Max(0, columns - k), padded);
                square = padded;
                pitch = AmxShape.RowBytes;
            }

            Square.Turn(square, pitch, some, At(tile, k), Pitch, Square.Size);
        }
    }

    private static int PaddedOf(int columns) => (columns + AmxTileEmitter.Step - 1) / AmxTileEmitter.Step * AmxTileEmitter.Step;
}

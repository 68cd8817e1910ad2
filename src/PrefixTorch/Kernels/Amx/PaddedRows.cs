namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// bf16 activations as <see cref="AmxPanelProduct"/> reads them: rows as they are, <c>[R, K]</c>, K filled up with zeros to whole blocks. From row to row no power of two, of which the first cache level holds few.
/// </summary>
/// <remarks>A view of memory that its maker owns; <see cref="Bytes"/> says how much. Rows are filled up to whole tiles, with what is there.</remarks>
internal readonly unsafe struct PaddedRows(byte* data, int rows, int columns)
{
    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Tiles of rows.</summary>
    public int Tiles => AmxShape.TilesOf(rows);

    /// <summary>Bytes from one row to the next.</summary>
    public long Pitch => PitchOf(columns);

    /// <summary>Memory for so many rows.</summary>
    public static long Bytes(int rows, int columns) => AmxShape.TilesOf(rows) * AmxShape.MostRows * PitchOf(columns);

    /// <summary>A row.</summary>
    public byte* Row(int row) => data + (row * Pitch);

    /// <summary>Copies a row. Rows may be filled by different threads.</summary>
    public void Fill(int row, byte* from)
    {
        var to = new Span<byte>(Row(row), (int)Pitch);
        new ReadOnlySpan<byte>(from, columns * sizeof(ushort)).CopyTo(to);
        to[(columns * sizeof(ushort))..].Clear();
    }

    private static long PitchOf(int columns) => ((long)CodeFormat.Int4Blocks(columns) * CodeFormat.Int4Block * sizeof(ushort)) + AmxShape.RowBytes;
}

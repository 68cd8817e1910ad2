using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Coded activations as <see cref="AmxCodeEmitter"/> reads them: rows are taken so many at a time, at most sixteen; of these each block of 512 columns is sixteen
/// lanes (<see cref="CodedRows"/>), each with its 32 values of every row, then a scale of every row, then a correction of every row, as floats.
/// </summary>
/// <remarks>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</remarks>
internal readonly unsafe struct AmxCodedRows(byte* data, int rows, int columns)
{
    /// <summary>Values of a row in a lane of a block: a row of a tile.</summary>
    public const int RowBytes = CodeFormat.Group;

    /// <summary>Bytes of a lane.</summary>
    public const int LaneBytes = ScalesAt + (2 * AmxShape.RowBytes);

    /// <summary>Where in a lane its scales begin.</summary>
    public const int ScalesAt = AmxShape.MostRows * RowBytes;

    /// <summary>Where in a lane its corrections begin.</summary>
    public const int CorrectionsAt = ScalesAt + AmxShape.RowBytes;

    /// <summary>Bytes of a block.</summary>
    public const int BlockBytes = CodeFormat.Groups * LaneBytes;

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Tiles of rows.</summary>
    public int Tiles => AmxShape.TilesOf(rows);

    /// <summary>Rows of a tile; the last one may have fewer, and then zeros.</summary>
    public int Width => (rows + Tiles - 1) / Tiles;

    /// <summary>Blocks of columns.</summary>
    public int Blocks => BlocksOf(columns);

    /// <summary>How many pieces there are to fill: blocks of tiles.</summary>
    public int Pieces => Tiles * Blocks;

    /// <summary>Memory for so many rows, and for the lane behind them that the code reads for nothing.</summary>
    public static long Bytes(int rows, int columns) => ((long)AmxShape.TilesOf(rows) * BlocksOf(columns) * BlockBytes) + LaneBytes;

    /// <summary>A block of a tile.</summary>
    public byte* At(int tile, int block) => data + ((((long)tile * Blocks) + block) * BlockBytes);

    /// <summary>Fills one block of a tile. Pieces may be filled by different threads.</summary>
    [SkipLocalsInit]
    public void Fill(int piece, CodedRows from)
    {
        int tile = piece / Blocks, block = piece % Blocks, first = tile * Width, some = Math.Max(0, Math.Min(Width, rows - first));
        byte* to = At(tile, block);
        new Span<byte>(to, BlockBytes).Clear();
        float* corrections = stackalloc float[AmxShape.MostRows * CodeFormat.Groups];
        for (int row = 0; row < some; row++)
        {
            // Lines of sixteen lanes become lanes of eight; each row of a lane overwrites what the one before has too much.
            byte* x = from.Row(first + row) + ((long)block * from.BlockSize);
            Square.Turn(x + CodedRows.ValuesAt, Streams.Line, CodedRows.Block / Streams.Line, to + (row * RowBytes), LaneBytes, CodeFormat.Groups);
            for (int lane = 0; lane < CodeFormat.Groups; lane++)
            {
                corrections[(row * CodeFormat.Groups) + lane] = ((int*)(x + CodedRows.CorrectionsAt))[lane];
            }
        }

        Square.Turn(from.Row(first) + ((long)block * from.BlockSize), from.Pitch, some, to + ScalesAt, LaneBytes, CodeFormat.Groups);
        Square.Turn((byte*)corrections, AmxShape.RowBytes, some, to + CorrectionsAt, LaneBytes, CodeFormat.Groups);
    }

    private static int BlocksOf(int columns) => (columns + CodedRows.Block - 1) / CodedRows.Block;
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Activations as <see cref="AmxByteEmitter"/> reads them: whole numbers of −127 … 127 with a scale for each 256 of a row, a group of four steps. Rows are taken sixteen at a
/// time, the last ones filled up with zeros, or all together where they are fewer; of these each step is <c>[16, rows]</c> times four neighbours in k, and after a group's steps
/// stands every row's scale, fp32.
/// </summary>
/// <remarks>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</remarks>
internal readonly unsafe struct AmxByteRows(byte* data, int rows, int columns)
{
    /// <summary>Columns of k of a step.</summary>
    public const int Step = AmxShape.RowBytes;

    /// <summary>Steps of a group; the last one of a row may have two.</summary>
    public const int GroupSteps = 4;

    // Groups that are filled at a time.
    private const int Piece = 2;

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Steps: as many as a row of weights has, which is filled up.</summary>
    public int Steps => StepsOf(columns);

    /// <summary>Rows of a tile.</summary>
    public int Width => Math.Min(rows, AmxShape.MostRows);

    /// <summary>Tiles of rows.</summary>
    public int Tiles => TilesOf(rows);

    /// <summary>Bytes from four columns of k to the next.</summary>
    public int Pitch => Width * sizeof(int);

    /// <summary>How many pieces of rows and columns there are to fill.</summary>
    public int Pieces => Tiles * PiecesOfTile;

    // Narrow rows overwrite what stands behind them, so they are filled in order.
    private int PiecesOfTile => rows < AmxShape.MostRows ? 1 : (Groups + Piece - 1) / Piece;

    private int Groups => GroupsOf(columns);

    /// <summary>Memory for so many rows, and for a whole register where fewer rows stand.</summary>
    public static long Bytes(int rows, int columns) => ((long)TilesOf(rows) * GroupsOf(columns) * GroupBytes(Math.Min(rows, AmxShape.MostRows))) + AmxShape.RowBytes;

    /// <summary>The first step of a tile.</summary>
    public byte* Tile(int tile) => data + ((long)tile * Groups * GroupBytes(Width));

    /// <summary>Fills one piece from rows of floats, so many bytes apart. Pieces may be filled by different threads.</summary>
    [SkipLocalsInit]
    public void Fill<TElement>(int piece, byte* from, long pitch)
        where TElement : struct, IElement
    {
        if (rows == 1)
        {
            FillOne<TElement>(from);
            return;
        }

        int tile = piece / PiecesOfTile, first = piece % PiecesOfTile * Piece, end = PiecesOfTile == 1 ? Groups : Math.Min(Groups, first + Piece);
        int firstRow = tile * AmxShape.MostRows, some = Math.Min(Width, rows - firstRow);
        float* wide = stackalloc float[GroupSteps * Step], scales = stackalloc float[AmxShape.MostRows];
        sbyte* coded = stackalloc sbyte[GroupSteps * AmxShape.TileBytes];
        byte* to = Tile(tile) + ((long)first * GroupBytes(Width));
        new Span<float>(scales, AmxShape.MostRows).Clear();
        for (int group = first; group < end; group++)
        {
            int k = group * GroupSteps * Step, count = Math.Min(columns - k, GroupSteps * Step);
            new Span<float>(wide, GroupSteps * Step).Clear();
            for (int row = 0; row < some; row++)
            {
                RowKernels<Vectors512, Vector512<float>>.Convert<TElement, Float32Element>(from + ((firstRow + row) * pitch) + ((long)k * TElement.Size), (byte*)wide, count);
                scales[row] = CodedActivations<Vectors512, Vector512<float>>.Run(wide, GroupSteps * Step, coded + (row * GroupSteps * Step), out _);
            }

            for (int step = 0; step < GroupSteps; step++, to += Square.Size * Pitch)
            {
                Square.Turn((byte*)coded + (step * Step), GroupSteps * Step, some, to, Pitch, Square.Size);
            }

            new ReadOnlySpan<float>(scales, Width).CopyTo(new Span<float>(to, Width));
            to += Pitch;
        }
    }

    // The only row: as it is.
    private void FillOne<TElement>(byte* from)
        where TElement : struct, IElement
    {
        float* wide = stackalloc float[GroupSteps * Step];
        byte* to = data;
        for (int k = 0; k < columns; k += GroupSteps * Step, to += GroupBytes(1))
        {
            int count = Math.Min(columns - k, GroupSteps * Step);
            RowKernels<Vectors512, Vector512<float>>.Convert<TElement, Float32Element>(from + ((long)k * TElement.Size), (byte*)wide, count);
            new Span<float>(wide + count, (GroupSteps * Step) - count).Clear();
            *(float*)(to + (GroupSteps * Step)) = CodedActivations<Vectors512, Vector512<float>>.Run(wide, GroupSteps * Step, (sbyte*)to, out _);
        }
    }

    private static int GroupBytes(int width) => ((GroupSteps * Square.Size) + 1) * width * sizeof(int);

    private static int StepsOf(int columns) => CodeFormat.Int8Blocks(columns) * (CodeFormat.Int8Block / Step);

    private static int GroupsOf(int columns) => (StepsOf(columns) + GroupSteps - 1) / GroupSteps;

    private static int TilesOf(int rows) => (rows + AmxShape.MostRows - 1) / AmxShape.MostRows;
}

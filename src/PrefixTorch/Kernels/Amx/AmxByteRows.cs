using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Activations as <see cref="AmxByteEmitter"/> reads them: whole numbers of −127 … 127 with a scale for each 64 of a row, a step. Rows are taken sixteen at a
/// time, the last ones filled up with zeros, or all together where they are fewer; of these each step is <c>[16, rows]</c> times four neighbours in k, and then
/// every row's scale, fp32.
/// </summary>
/// <remarks>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</remarks>
internal readonly unsafe struct AmxByteRows(byte* data, int rows, int columns)
{
    /// <summary>Columns of k of a step.</summary>
    public const int Step = AmxShape.RowBytes;

    // Steps that are filled at a time.
    private const int Piece = 8;

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Steps: as many as a row of weights has, which is filled up.</summary>
    public int Steps => StepsOf(columns);

    /// <summary>Rows of a tile.</summary>
    public int Width => Math.Min(rows, AmxShape.MostRows);

    /// <summary>Tiles of rows.</summary>
    public int Tiles => AmxShape.TilesOf(rows);

    /// <summary>Bytes from four columns of k to the next.</summary>
    public int Pitch => Width * sizeof(int);

    /// <summary>How many pieces of rows and columns there are to fill.</summary>
    public int Pieces => Tiles * PiecesOfTile;

    // Narrow rows overwrite what stands behind them, so they are filled in order.
    private int PiecesOfTile => rows < AmxShape.MostRows ? 1 : (Steps + Piece - 1) / Piece;

    /// <summary>Memory for so many rows, and for a whole register where fewer rows stand.</summary>
    public static long Bytes(int rows, int columns) => ((long)AmxShape.TilesOf(rows) * StepsOf(columns) * StepBytes(Math.Min(rows, AmxShape.MostRows))) + AmxShape.RowBytes;

    /// <summary>The first step of a tile.</summary>
    public byte* Tile(int tile) => data + ((long)tile * Steps * StepBytes(Width));

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

        int tile = piece / PiecesOfTile, first = piece % PiecesOfTile * Piece, end = PiecesOfTile == 1 ? Steps : Math.Min(Steps, first + Piece);
        int firstRow = tile * AmxShape.MostRows, some = Math.Min(Width, rows - firstRow);
        float* scales = stackalloc float[AmxShape.MostRows];
        sbyte* coded = stackalloc sbyte[AmxShape.TileBytes];
        byte* to = Tile(tile) + ((long)first * StepBytes(Width));
        new Span<float>(scales, AmxShape.MostRows).Clear();
        for (int step = first; step < end; step++, to += StepBytes(Width))
        {
            for (int row = 0; row < some; row++)
            {
                scales[row] = Round<TElement>(from + ((firstRow + row) * pitch), step, coded + (row * Step));
            }

            Square.Turn((byte*)coded, Step, some, to, Pitch, Square.Size);
            new ReadOnlySpan<float>(scales, Width).CopyTo(new Span<float>(to + (Square.Size * Pitch), Width));
        }
    }

    // The only row: as it is.
    private void FillOne<TElement>(byte* from)
        where TElement : struct, IElement
    {
        byte* to = data;
        for (int step = 0; step < Steps; step++, to += StepBytes(1))
        {
            *(float*)(to + Step) = Round<TElement>(from, step, (sbyte*)to);
        }
    }

    // A row's values of a step. Returns their scale.
    [SkipLocalsInit]
    private float Round<TElement>(byte* from, int step, sbyte* to)
        where TElement : struct, IElement
    {
        float* wide = stackalloc float[Step];
        int k = step * Step, count = Math.Clamp(columns - k, 0, Step);
        RowKernels<Vectors512, Vector512<float>>.Convert<TElement, Float32Element>(from + ((long)k * TElement.Size), (byte*)wide, count);
        new Span<float>(wide + count, Step - count).Clear();
        return CodedActivations<Vectors512, Vector512<float>>.Run(wide, Step, to, out _);
    }

    private static int StepBytes(int width) => (Square.Size + 1) * width * sizeof(int);

    private static int StepsOf(int columns) => CodeFormat.Int8Blocks(columns) * (CodeFormat.Int8Block / Step);
}

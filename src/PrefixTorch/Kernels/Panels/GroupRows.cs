using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels.Panels;

/// <summary>
/// Activations as products with int4 read them: whole numbers of −127 … 127, with one scale for each group of 32. So a product is exact in integers within a group, on every machine, and a
/// processor does several times as many of them as of any floats.
/// </summary>
/// <remarks>
/// <para>
/// Rows are taken sixteen at a time, a tile, or all together where they are fewer. Of a tile's group: every row's 32 bytes, in the order in which codes come out of their words; every row's
/// scale, every row's correction, and every row's offset, all fp32. A zero point is to be multiplied with the correction, −1 times the sum of the bytes, and since zero points count sixteenths
/// the scale is a 16th of what it would be. The offset is <see cref="WholeNumbers.Shift"/> times the scale, negative and exact: what is to be added where sums are counted from there, so that
/// they are floats without being converted.
/// </para>
/// <para>A view of memory that its maker owns; <see cref="Bytes"/> says how much. Of the last tile those rows that there are not stay undefined.</para>
/// </remarks>
internal readonly unsafe struct GroupRows(byte* data, int rows, int columns)
{
    /// <summary>Rows of a tile at most.</summary>
    public const int MostWidth = 16;

    // A scale has so few bits that three times it is a float.
    private const uint ScaleBits = ~3u;

    private const int Floats = 3;

    // Values of a row that are rounded together.
    private const int Chunk = 8 * CodeFormat.Group;

    // Where rows are fewer than are computed together, as many are read.
    private const int Slack = Floats * MostWidth * sizeof(float);

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Values of a row.</summary>
    public int Columns => columns;

    /// <summary>Rows of a tile.</summary>
    public int Width => Math.Min(rows, MostWidth);

    /// <summary>Tiles of rows.</summary>
    public int Tiles => TilesOf(rows);

    /// <summary>In how many chunks a row is rounded.</summary>
    public int Chunks => (columns + Chunk - 1) / Chunk;

    /// <summary>Bytes from one group to the next.</summary>
    public int Pitch => GroupBytes(Width);

    /// <summary>Where in a group the scales begin, in bytes.</summary>
    public int ScalesAt => Width * CodeFormat.Group;

    /// <summary>Bytes from the scales to the corrections, and from these to the offsets.</summary>
    public int ScaleBytes => Width * sizeof(float);

    /// <summary>Bytes of a group of so many rows.</summary>
    public static int GroupBytes(int width) => width * (CodeFormat.Group + (Floats * sizeof(float)));

    /// <summary>Memory for so many rows.</summary>
    public static long Bytes(int rows, int columns) => (TilesOf(rows) * TileBytes(Math.Min(rows, MostWidth), columns)) + Slack;

    /// <summary>A tile's group.</summary>
    public byte* At(int tile, int group) => data + (tile * TileBytes(Width, columns)) + ((long)group * Pitch);

    /// <summary>Rounds a chunk of one row of floats, <c>[columns]</c>. Chunks may be filled by different threads: best those of several rows by one, since rows' scales stand side by side.</summary>
    [SkipLocalsInit]
    public void Fill<TVectors, TVector, TElement>(int row, int chunk, byte* from)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
        where TElement : struct, IElement
    {
        float* values = stackalloc float[Chunk];
        int k = chunk * Chunk, some = Math.Min(Chunk, (CodeFormat.Int4Blocks(columns) * CodeFormat.Int4Block) - k), count = Math.Clamp(columns - k, 0, some);
        RowKernels<TVectors, TVector>.Convert<TElement, Float32Element>(from + ((long)k * TElement.Size), (byte*)values, count);
        new Span<float>(values + count, some - count).Clear();
        int inTile = row % MostWidth, width = Width, pitch = Pitch;
        byte* group = At(row / MostWidth, k / CodeFormat.Group), bytes = group + (inTile * CodeFormat.Group), floats = group + ScalesAt + (inTile * sizeof(float));
        for (int i = 0; i < some; i += CodeFormat.Group, bytes += pitch, floats += pitch)
        {
            float scale = CodedActivations<TVectors, TVector>.Group(values + i, (sbyte*)bytes, out float correction);
            scale = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(scale) & ScaleBits);
            ((float*)floats)[0] = scale;
            ((float*)floats)[width] = correction;
            ((float*)floats)[2 * width] = -WholeNumbers.Shift * scale;
        }
    }

    private static int TilesOf(int rows) => (rows + MostWidth - 1) / MostWidth;

    private static long TileBytes(int width, int columns) => 2L * CodeFormat.Int4Blocks(columns) * GroupBytes(width);
}

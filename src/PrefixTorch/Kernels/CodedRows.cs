namespace PrefixTorch.Kernels;

/// <summary>
/// Activations as the products with codes read them: signed bytes, with one scale for each 32 of them that meet in a lane. So a product is exact in
/// integers within a lane and a block, on every machine, and a processor does twice as many of them as of any floats.
/// </summary>
/// <remarks>
/// <para>
/// A row is cut into blocks of 512, the last one padded with zeros, each of <see cref="BlockBytes"/>: sixteen scales, fp32; sixteen corrections, int32;
/// and eight registers of sixteen 32-bit words, four values each. For int8 they stand in order, and lane <c>l</c> has word <c>l</c> of every register;
/// for int4 they stand as the codes do (<see cref="CodeFormat"/>), and a lane has the values of a group.
/// </para>
/// <para>
/// What a product wants to be corrected by is a multiple of the lane's sum of values: of int4, for the zero points, −1 times it, and the scale is a 16th
/// of the values' since zero points count sixteenths; of int8, whose codes a tile makes unsigned by adding 128, −128 times it.
/// </para>
/// <para>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</para>
/// </remarks>
internal readonly unsafe struct CodedRows(byte* data, int rows, int columns)
{
    /// <summary>Values of a block.</summary>
    public const int Block = CodeFormat.Int4Block;

    /// <summary>Where in a block its corrections begin, in bytes.</summary>
    public const int CorrectionsAt = CodeFormat.Groups * sizeof(float);

    /// <summary>Where in a block its values begin, in bytes.</summary>
    public const int ValuesAt = 2 * CorrectionsAt;

    /// <summary>Bytes of a block.</summary>
    public const int BlockBytes = ValuesAt + Block;

    /// <summary>What the corrections of int8 are multiples of.</summary>
    public const int Int8Offset = 128;

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Values of a row.</summary>
    public int Columns => columns;

    /// <summary>Blocks of a row.</summary>
    public int Blocks => BlocksOf(columns);

    /// <summary>Bytes from one row to the next.</summary>
    public long Pitch => PitchOf(columns);

    /// <summary>Memory for so many rows.</summary>
    public static long Bytes(int rows, int columns) => rows * PitchOf(columns);

    /// <summary>The first block of a row.</summary>
    public byte* Row(int row) => data + row * Pitch;

    private static int BlocksOf(int columns) => (columns + Block - 1) / Block;

    private static long PitchOf(int columns) => (long)BlocksOf(columns) * BlockBytes;
}

namespace PrefixTorch.Kernels;

/// <summary>How the values of a block of <see cref="CodedRows"/> stand, which is as their product reads them.</summary>
internal enum CodedOrder
{
    /// <summary>For int8 by tiles: signed bytes in order.</summary>
    Bytes,

    /// <summary>
    /// For int8 elsewhere: 16 bits each; of every 64 first those of even place and then those of odd place, as the codes come apart. Bytes
    /// of two signs would be multiplied in more steps: the sign of one goes to the other, and sums of two must be widened.
    /// </summary>
    Words,
}

/// <summary>
/// Activations as the products with int8 read them: whole numbers of −127 … 127, with one scale for each 32 of them that meet in a lane. So a product is
/// exact in integers within a lane and a block, on every machine, and a processor does several times as many of them as of any floats.
/// </summary>
/// <remarks>
/// <para>
/// A row is cut into blocks of 512, the last one padded with zeros, each of them sixteen scales, fp32; sixteen corrections, int32;
/// and the values. Lane <c>l</c> has four neighbours of every 64, the <c>l</c>th ones.
/// </para>
/// <para>
/// A tile makes codes unsigned by adding 128, so what its product wants to be corrected by is −128 times the lane's sum of values. Where values are words, codes are multiplied as the upper
/// bytes of words: the scale is a 256th.
/// </para>
/// <para>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</para>
/// </remarks>
internal readonly unsafe struct CodedRows(byte* data, CodedOrder order, int rows, int columns)
{
    /// <summary>Values of a block.</summary>
    public const int Block = 512;

    /// <summary>Lanes, of the widest register, with a scale each.</summary>
    public const int Lanes = 16;

    /// <summary>Where in a block its corrections begin, in bytes.</summary>
    public const int CorrectionsAt = Lanes * sizeof(float);

    /// <summary>Where in a block its values begin, in bytes.</summary>
    public const int ValuesAt = 2 * CorrectionsAt;

    /// <summary>Bytes of a block whose values are bytes.</summary>
    public const int BlockBytes = ValuesAt + Block;

    /// <summary>What the corrections of int8 are multiples of.</summary>
    public const int Int8Offset = 128;

    /// <summary>How the values stand.</summary>
    public CodedOrder Order => order;

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Values of a row.</summary>
    public int Columns => columns;

    /// <summary>Bytes of a block of these.</summary>
    public int BlockSize => BlockSizeOf(order);

    /// <summary>Bytes from one row to the next.</summary>
    public long Pitch => PitchOf(order, columns);

    /// <summary>Memory for so many rows.</summary>
    public static long Bytes(CodedOrder order, int rows, int columns) => rows * PitchOf(order, columns);

    /// <summary>Bytes of a value.</summary>
    public static int ValueSize(CodedOrder order) => order == CodedOrder.Words ? sizeof(short) : sizeof(sbyte);

    /// <summary>Bytes of a block of so standing values.</summary>
    public static int BlockSizeOf(CodedOrder order) => ValuesAt + (Block * ValueSize(order));

    /// <summary>The first block of a row.</summary>
    public byte* Row(int row) => data + row * Pitch;

    private static long PitchOf(CodedOrder order, int columns) => (long)((columns + Block - 1) / Block) * BlockSizeOf(order);
}

namespace PrefixTorch.Kernels;

/// <summary>
/// How quantized weights lie in memory. Rows are cut into blocks, the last one padded with zeros, and each row has one scale S, fp32 <c>[N]</c>.
/// A weight is <c>S × code</c> in int8, and <c>S × u² × (code − z / 16)</c> in int4, where each group of 32 has its own scale <c>u</c> and zero
/// point <c>z</c>, a byte each.
/// </summary>
/// <remarks>
/// <para>Int8: signed bytes in order, <c>[N, blocks × 128]</c>.</para>
/// <para>
/// Int4: <c>[N, blocks × 288]</c> bytes: 4.5 bits a weight. A block is 512 weights, sixteen groups: their sixteen scales, their sixteen zero points, and
/// four registers of sixteen 32-bit words. Word <c>g</c> of register <c>r</c> holds the weights 8 r … 8 r + 7 of group <c>g</c>: weight <c>i</c> of
/// these in the sixteen-bit half <c>i mod 2</c>, in that half's four bits <c>i / 2</c>. So a lane belongs to one group, whose scale it meets once in
/// 32 weights.
/// </para>
/// <para>
/// The square of a byte reaches from a row's largest scale down to a thousandth of it in steps of a few percent at most, and a zero point in sixteenths of
/// a step follows weights that were rounded with any minimum before.
/// </para>
/// </remarks>
internal static class CodeFormat
{
    /// <summary>Weights of a block of int8.</summary>
    public const int Int8Block = 128;

    /// <summary>Weights that share a scale and a zero point in int4.</summary>
    public const int Group = 32;

    /// <summary>Groups of a block of int4: one for each lane of the widest register.</summary>
    public const int Groups = 16;

    /// <summary>Weights of a block of int4.</summary>
    public const int Int4Block = Group * Groups;

    /// <summary>Bytes of a block's scales and zero points, which its codes come after.</summary>
    public const int Int4Header = 2 * Groups;

    /// <summary>Bytes of a block of int4.</summary>
    public const int Int4BlockBytes = Int4Header + (Int4Block / 2);

    /// <summary>The largest int4 code.</summary>
    public const int Int4Largest = 15;

    /// <summary>Zero points of int4 are in parts of a step so small.</summary>
    public const int ZeroParts = 16;

    /// <summary>Blocks of a row of int8.</summary>
    public static int Int8Blocks(int columns) => (columns + Int8Block - 1) / Int8Block;

    /// <summary>Blocks of a row of int4.</summary>
    public static int Int4Blocks(int columns) => (columns + Int4Block - 1) / Int4Block;

    /// <summary>Where the int4 code of weight <paramref name="k"/> of a block lies: in which 32-bit word of its codes, and how far it is shifted.</summary>
    public static (int Word, int Shift) Int4Place(int k)
    {
        int group = k / Group, i = k % Group;
        return ((i / 8 * Groups) + group, (i % 2 * 16) + (i % 8 / 2 * 4));
    }
}

namespace PrefixTorch.Kernels;

/// <summary>
/// How quantized weights lie in memory. Rows are cut into blocks of 128 weights, the last one padded; weights are
/// <c>code × scale</c> (int8: one scale for a row) or <c>(code − 8) × scale</c> (int4: one scale for each group of 32).
/// </summary>
/// <remarks>
/// <para>Int8: signed bytes in order, <c>[N, blocks × 128]</c>, scales fp32 <c>[N]</c>.</para>
/// <para>
/// Int4: <c>[N, blocks × 64]</c> bytes, scales bf16 <c>[N, blocks × 4]</c>: 4.5 bits a weight. A block is sixteen 32-bit words; word <c>d</c> belongs
/// to group <c>d mod 4</c>, so that one register of four repeated scales fits all of them. Weight <c>i</c> of group <c>g</c> is in word
/// <c>4 (i / 8) + g</c>, in its sixteen-bit half <c>i mod 2</c>, in that half's four bits <c>(i mod 8) / 2</c>: codes that meet in one multiplication
/// of sixteen-bit pairs lie one shift apart.
/// </para>
/// </remarks>
internal static class CodeFormat
{
    /// <summary>Weights of a block.</summary>
    public const int Block = 128;

    /// <summary>Weights that share a scale in int4.</summary>
    public const int Group = 32;

    /// <summary>Groups of a block.</summary>
    public const int Groups = Block / Group;

    /// <summary>Bytes of a block's int4 codes.</summary>
    public const int Int4BlockBytes = Block / 2;

    /// <summary>The int4 code of weight zero.</summary>
    public const int Int4Zero = 8;

    /// <summary>Blocks of a row.</summary>
    public static int Blocks(int columns) => (columns + Block - 1) / Block;

    /// <summary>Where the int4 code of weight <paramref name="k"/> of a block lies: in which 32-bit word, and how far it is shifted.</summary>
    public static (int Word, int Shift) Int4Place(int k)
    {
        int group = k / Group, i = k % Group;
        return (4 * (i / 8) + group, (i % 2 * 16) + (i % 8 / 2 * 4));
    }
}

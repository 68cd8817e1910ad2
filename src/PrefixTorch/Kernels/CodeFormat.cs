namespace PrefixTorch.Kernels;

/// <summary>
/// How quantized weights lie in memory. Rows are cut into blocks, the last one padded with zeros, and each row has one scale S, fp32 <c>[N]</c>.
/// A weight is <c>S × code</c> in int8, and <c>S × u² × (code − z / 16)</c> in int4, where each group of 32 has its own scale <c>u</c> and zero
/// point <c>z</c>, a byte each.
/// </summary>
/// <remarks>
/// <para>Int8: signed bytes in order, <c>[N, blocks × 128]</c>.</para>
/// <para>
/// Int4: panels of sixteen outputs, the last one filled up with zeros, <c>[⌈N / 16⌉, blocks × 576]</c> bytes: 4.5 bits a weight. A block is 64 weights of each output, two groups. First a
/// line of scales and zero points: sixteen scales of the first group and sixteen zero points, and those of the second. Then of either group four registers of sixteen 32-bit words: word
/// <c>n</c> of register <c>r</c> holds the weights 8 r … 8 r + 7 of output <c>n</c>, weight <c>i</c> of these in the sixteen-bit half <c>i mod 2</c>, in that half's four bits <c>i / 2</c>.
/// So a lane belongs to one output, a register of words meets four bytes of activations after the other, and what is widened to bf16 stands as tiles read it.
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

    /// <summary>Outputs of a panel of int4: one for each lane of the widest register.</summary>
    public const int Panel = 16;

    /// <summary>Weights of a block of int4, of each output.</summary>
    public const int Int4Block = 2 * Group;

    /// <summary>Bytes of a group's scales and zero points.</summary>
    public const int GroupHeader = 2 * Panel;

    /// <summary>Bytes of a block's scales and zero points, which its codes come after.</summary>
    public const int Int4Header = 2 * GroupHeader;

    /// <summary>Bytes of a group's codes.</summary>
    public const int GroupCodes = Panel * Group / 2;

    /// <summary>Bytes of a block of int4.</summary>
    public const int Int4BlockBytes = Int4Header + (2 * GroupCodes);

    /// <summary>The largest int4 code.</summary>
    public const int Int4Largest = 15;

    /// <summary>Zero points of int4 are in parts of a step so small.</summary>
    public const int ZeroParts = 16;

    /// <summary>Blocks of a row of int8.</summary>
    public static int Int8Blocks(int columns) => (columns + Int8Block - 1) / Int8Block;

    /// <summary>Blocks of a panel of int4.</summary>
    public static int Int4Blocks(int columns) => (columns + Int4Block - 1) / Int4Block;

    /// <summary>Panels of int4.</summary>
    public static int Panels(int outputs) => (outputs + Panel - 1) / Panel;

    /// <summary>Bytes of a panel of int4.</summary>
    public static long PanelBytes(int columns) => (long)Int4Blocks(columns) * Int4BlockBytes;

    /// <summary>Where in a panel a group's scales are, then its zero points; and its codes.</summary>
    public static (long Scales, long Codes) GroupPlace(int group)
    {
        long block = group / 2 * (long)Int4BlockBytes;
        int second = group % 2;
        return (block + (second * GroupHeader), block + Int4Header + (second * GroupCodes));
    }

    /// <summary>Where the code of weight <paramref name="i"/> of a group of output <paramref name="n"/> lies: in which 32-bit word of the group's codes, and how far it is shifted.</summary>
    public static (int Word, int Shift) Int4Place(int n, int i) => ((i / 8 * Panel) + n, (i % 2 * 16) + (i % 8 / 2 * 4));
}

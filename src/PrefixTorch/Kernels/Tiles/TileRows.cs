using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>Activations as tiles read them: bf16 in order, padded with zeros to whole blocks for codes, and each block in the order of int4's lanes for those.</summary>
internal static unsafe class TileRows
{
    /// <summary>Elements of a row for weights of this kind.</summary>
    public static int Elements(TileSource source, int columns) => source == TileSource.BFloat16 ? columns : CodeFormat.Blocks(columns) * CodeFormat.Block;

    /// <summary>Whether rows must be laid anew for weights of this kind.</summary>
    public static bool NeedsEncoding(TileSource source, int columns) => source == TileSource.Int4 || Elements(source, columns) != columns;

    /// <summary>Lays one row of <paramref name="columns"/> bf16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Encode(TileSource source, ushort* from, int columns, ushort* to)
    {
        ushort* padded = stackalloc ushort[CodeFormat.Block];
        for (int k = 0; k < columns; k += CodeFormat.Block, to += CodeFormat.Block)
        {
            int count = Math.Min(CodeFormat.Block, columns - k);
            ushort* block = from + k;
            if (count < CodeFormat.Block)
            {
                new Span<ushort>(padded, CodeFormat.Block).Clear();
                new ReadOnlySpan<ushort>(block, count).CopyTo(new Span<ushort>(padded, count));
                block = padded;
            }

            if (source == TileSource.Int4)
            {
                Interleave((uint*)block, (uint*)to);
            }
            else
            {
                new ReadOnlySpan<ushort>(block, CodeFormat.Block).CopyTo(new Span<ushort>(to, CodeFormat.Block));
            }
        }
    }

    // Pairs of neighbours stay together: pair p of an eight-weight run goes to register p, in the lane of the run's 32-bit word.
    private static void Interleave(uint* pairs, uint* to)
    {
        for (int word = 0; word < CodedRows.Words; word++)
        {
            int first = (word % CodeFormat.Groups * CodeFormat.Group / 2) + (word / CodeFormat.Groups * 4);
            for (int p = 0; p < 4; p++)
            {
                to[(p * CodedRows.Words) + word] = pairs[first + p];
            }
        }
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>
/// Activations as tiles read them: bf16 in order; for codes, padded with zeros to whole blocks; and for int4, block by block, the sixteen registers that
/// meet a block's codes and the sums of its groups, fp32.
/// </summary>
internal static unsafe class TileRows
{
    /// <summary>Elements of sixteen bits that an int4 block of activations takes.</summary>
    public const int Int4Block = CodeFormat.Int4Block + (CodeFormat.Groups * sizeof(float) / sizeof(ushort));

    private const int Pairs = CodeFormat.Group / 2;

    /// <summary>Elements of sixteen bits that a row takes for weights of this kind.</summary>
    public static int Elements(TileSource source, int columns) => source switch
    {
        TileSource.BFloat16 => columns,
        TileSource.Int8 => CodeFormat.Int8Blocks(columns) * CodeFormat.Int8Block,
        _ => CodeFormat.Int4Blocks(columns) * Int4Block,
    };

    /// <summary>Whether rows must be laid anew for weights of this kind.</summary>
    public static bool NeedsEncoding(TileSource source, int columns) => Elements(source, columns) != columns;

    /// <summary>Lays one row of <paramref name="columns"/> bf16.</summary>
    public static void Encode(TileSource source, ushort* from, int columns, ushort* to)
    {
        if (source != TileSource.Int4)
        {
            new ReadOnlySpan<ushort>(from, columns).CopyTo(new Span<ushort>(to, columns));
            new Span<ushort>(to + columns, Elements(source, columns) - columns).Clear();
            return;
        }

        ushort* padded = stackalloc ushort[CodeFormat.Int4Block];
        for (int k = 0; k < columns; k += CodeFormat.Int4Block, to += Int4Block)
        {
            int count = Math.Min(CodeFormat.Int4Block, columns - k);
            ushort* block = from + k;
            if (count < CodeFormat.Int4Block)
            {
                new Span<ushort>(padded, CodeFormat.Int4Block).Clear();
                new ReadOnlySpan<ushort>(block, count).CopyTo(new Span<ushort>(padded, count));
                block = padded;
            }

            Interleave((uint*)block, (uint*)to);
        }
    }

    // Pairs of neighbours stay together: pair p of group g goes to register p, lane g, and each lane's numbers are added up.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Interleave(uint* pairs, uint* to)
    {
        for (int group = 0; group < CodeFormat.Groups; group++, pairs += Pairs)
        {
            for (int p = 0; p < Pairs; p++)
            {
                to[(p * CodeFormat.Groups) + group] = pairs[p];
            }
        }

        Vector512<float> sums = default;
        for (int p = 0; p < Pairs; p++)
        {
            var both = Vector512.Load(to + (p * CodeFormat.Groups));
            sums += (both << 16).AsSingle() + (both & Vector512.Create(0xffff0000)).AsSingle();
        }

        sums.Store((float*)(to + CodeFormat.Int4Block / 2));
    }
}

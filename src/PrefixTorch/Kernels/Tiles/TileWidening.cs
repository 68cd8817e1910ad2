using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>Codes as bf16, which holds each of them exactly: done once where many rows meet the same weights.</summary>
internal static unsafe class TileWidening
{
    /// <summary>Signed bytes in order; <paramref name="count"/> is a multiple of <see cref="CodeFormat.Block"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Int8(sbyte* codes, int count, ushort* to)
    {
        for (int i = 0; i < count; i += 16)
        {
            // The lower half of such a float is zero.
            Vector512<uint> bits = Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(Vector128.Load(codes + i))).AsUInt32();
            Avx512F.ConvertToVector256UInt16(bits >>> 16).Store(to + i);
        }
    }

    /// <summary>Blocks of four-bit codes, less their zero, each in the order that a grouped tile meets them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Int4(byte* codes, int blocks, ushort* to)
    {
        ushort* values = stackalloc ushort[32];
        for (int lane = 0; lane < 32; lane++)
        {
            BFloat16Element.Store((lane % 16) - CodeFormat.Int4Zero, (byte*)(values + lane));
        }

        Vector512<ushort> table = Vector512.Load(values);
        for (int block = 0; block < blocks; block++, codes += CodeFormat.Int4BlockBytes, to += CodeFormat.Block)
        {
            // The table has each value twice: the fifth bit of an index belongs to the next code.
            Vector512<ushort> bits = Vector512.Load((ushort*)codes);
            Avx512BW.PermuteVar32x16(table, bits).Store(to);
            Avx512BW.PermuteVar32x16(table, bits >>> 4).Store(to + 32);
            Avx512BW.PermuteVar32x16(table, bits >>> 8).Store(to + 64);
            Avx512BW.PermuteVar32x16(table, bits >>> 12).Store(to + 96);
        }
    }
}

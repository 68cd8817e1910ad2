using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>Codes as bf16, which holds each of them exactly: done once where many rows meet the same weights.</summary>
internal static unsafe class TileWidening
{
    /// <summary>
    /// What an int4 code is made bf16 with: 128 in bf16, whose lowest four bits count ones. The code is put there as it is; the groups' sums of
    /// activations take the 128 away again, together with the zero point.
    /// </summary>
    public const float Int4Offset = 128;

    /// <summary>The bits of <see cref="Int4Offset"/> in bf16.</summary>
    public const ushort Int4OffsetBits = 0x4300;

    /// <summary>Bytes of the factors before a widened block of int4: sixteen scales and sixteen zero points.</summary>
    public const int WidenedInt4Header = 2 * CodeFormat.Groups * sizeof(float);

    /// <summary>Bytes of a widened block of int4.</summary>
    public const int WidenedInt4BlockBytes = WidenedInt4Header + (CodeFormat.Int4Block * sizeof(ushort));

    /// <summary>Signed bytes in order; <paramref name="count"/> is a multiple of <see cref="CodeFormat.Int8Block"/>.</summary>
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

    /// <summary>
    /// Blocks of four-bit codes: the groups' scales and what their sums of activations are multiplied with, fp32, then the codes plus
    /// <see cref="Int4Offset"/>, in the order that a tile meets them.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Int4(byte* codes, int blocks, byte* to)
    {
        Vector512<ushort> mask = Vector512.Create((ushort)CodeFormat.Int4Largest), offset = Vector512.Create(Int4OffsetBits);
        Vector512<float> parts = Vector512.Create(-1f / CodeFormat.ZeroParts), zero = Vector512.Create(-Int4Offset);
        for (int block = 0; block < blocks; block++, codes += CodeFormat.Int4BlockBytes, to += WidenedInt4BlockBytes)
        {
            Vector512<float> scale = Vectors512.LoadUInt8(codes), zeros = Vectors512.LoadUInt8(codes + CodeFormat.Groups);
            (scale * scale).Store((float*)to);
            Avx512F.FusedMultiplyAdd(zeros, parts, zero).Store((float*)(to + 64));
            var values = (ushort*)(to + WidenedInt4Header);
            for (int run = 0; run < 4; run++, values += 128)
            {
                Vector512<ushort> bits = Vector512.Load((ushort*)(codes + CodeFormat.Int4Header + (run * 64)));
                ((bits & mask) | offset).Store(values);
                (((bits >>> 4) & mask) | offset).Store(values + 32);
                (((bits >>> 8) & mask) | offset).Store(values + 64);
                ((bits >>> 12) | offset).Store(values + 96);
            }
        }
    }
}

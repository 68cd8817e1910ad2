using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels;

/// <summary>Quantized rows as floats, for products of many rows; see <see cref="CodeFormat"/>.</summary>
internal static unsafe class CodeWidening<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>One row of int8 codes times its scale, <c>[K]</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Int8<TTo>(sbyte* codes, float scale, int columns, byte* to)
        where TTo : struct, IElement
    {
        TVector scales = TVectors.Broadcast(scale);
        int i = 0;
        for (; i + TVectors.Width <= columns; i += TVectors.Width)
        {
            TTo.Store<TVectors, TVector>(TVectors.Multiply(TVectors.LoadInt8(codes + i), scales), to + (long)i * TTo.Size);
        }

        for (; i < columns; i++)
        {
            TTo.Store(codes[i] * scale, to + (long)i * TTo.Size);
        }
    }

    /// <summary>One row of int4 codes, <c>[K]</c>; <paramref name="rowScale"/> is S.</summary>
    public static void Int4<TTo>(byte* codes, float rowScale, int columns, byte* to)
        where TTo : struct, IElement
    {
        byte* whole = stackalloc byte[CodeFormat.Int4Block * sizeof(float)];
        for (int k = 0; k < columns; k += CodeFormat.Int4Block, codes += CodeFormat.Int4BlockBytes)
        {
            byte* target = to + (long)k * TTo.Size;
            bool isWhole = columns - k >= CodeFormat.Int4Block;
            Int4Block<TTo>(codes, rowScale, isWhole ? target : whole);
            if (!isWhole)
            {
                Buffer.MemoryCopy(whole, target, (columns - k) * TTo.Size, (columns - k) * TTo.Size);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Int4Block<TTo>(byte* block, float rowScale, byte* to)
        where TTo : struct, IElement
    {
        var words = (uint*)(block + CodeFormat.Int4Header);
        for (int group = 0; group < CodeFormat.Groups; group++)
        {
            float scale = block[group] * block[group] * rowScale, zero = block[CodeFormat.Groups + group] / (float)CodeFormat.ZeroParts;
            for (int run = 0; run < CodeFormat.Group / 8; run++, to += 8 * TTo.Size)
            {
                uint word = words[(run * CodeFormat.Groups) + group];
                if (Avx2.IsSupported && typeof(TVectors) != typeof(Vectors128))
                {
                    // Eight codes of a word at once, each lane with a shift of its own.
                    Vector256<uint> shifted = Avx2.ShiftRightLogicalVariable(Vector256.Create(word), Vector256.Create(0u, 16, 4, 20, 8, 24, 12, 28)) & Vector256.Create(15u);
                    Vector256<float> code = Avx.ConvertToVector256Single(shifted.AsInt32()) - Vector256.Create(zero);
                    TTo.Store<Vectors256, Vector256<float>>(code * Vector256.Create(scale), to);
                }
                else
                {
                    for (int i = 0; i < 8; i++)
                    {
                        uint code = (word >> ((i % 2 * 16) + (i / 2 * 4))) & 15;
                        TTo.Store((code - zero) * scale, to + i * TTo.Size);
                    }
                }
            }
        }
    }
}

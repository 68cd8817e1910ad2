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

    /// <summary>One row of int4 codes, <c>[K]</c>: output <paramref name="n"/> of a panel; <paramref name="rowScale"/> is S.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Int4<TTo>(byte* panel, int n, float rowScale, int columns, byte* to)
        where TTo : struct, IElement
    {
        byte* whole = stackalloc byte[CodeFormat.Group * sizeof(float)];
        for (int k = 0; k < columns; k += CodeFormat.Group)
        {
            byte* target = to + (long)k * TTo.Size;
            bool isWhole = columns - k >= CodeFormat.Group;
            (long scales, long codes) = CodeFormat.GroupPlace(k / CodeFormat.Group);
            int root = panel[scales + n];
            Group<TTo>((uint*)(panel + codes) + n, root * root * rowScale, panel[scales + CodeFormat.Panel + n] / (float)CodeFormat.ZeroParts, isWhole ? target : whole);
            if (!isWhole)
            {
                Buffer.MemoryCopy(whole, target, (columns - k) * TTo.Size, (columns - k) * TTo.Size);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Group<TTo>(uint* words, float scale, float zero, byte* to)
        where TTo : struct, IElement
    {
        for (int run = 0; run < CodeFormat.Group / 8; run++, to += 8 * TTo.Size)
        {
            uint word = words[run * CodeFormat.Panel];
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

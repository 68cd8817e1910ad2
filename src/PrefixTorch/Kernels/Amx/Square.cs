using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels.Amx;

/// <summary>Turns squares of sixteen by sixteen 32-bit numbers: columns become rows.</summary>
internal static unsafe class Square
{
    /// <summary>Rows, and columns.</summary>
    public const int Size = 16;

    /// <summary>
    /// Reads <paramref name="rows"/> rows of sixteen, <paramref name="pitch"/> bytes apart; the others are zeros. Writes <paramref name="columns"/> of the columns
    /// as whole rows of sixteen, <paramref name="toPitch"/> bytes apart, in order: where these are fewer, each overwrites what the one before has too much.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization), SkipLocalsInit]
    public static void Turn(byte* from, long pitch, int rows, byte* to, long toPitch, int columns)
    {
        Vector512<float>* half = stackalloc Vector512<float>[Size];
        for (int i = 0; i < Size; i += 4, half += 4)
        {
            // Four rows: squares of four by four within each quarter of a register.
            Vector512<float> a = Row(from, pitch, rows, i), b = Row(from, pitch, rows, i + 1), c = Row(from, pitch, rows, i + 2), d = Row(from, pitch, rows, i + 3);
            Vector512<double> ab = Avx512F.UnpackLow(a, b).AsDouble(), cd = Avx512F.UnpackLow(c, d).AsDouble();
            half[0] = Avx512F.UnpackLow(ab, cd).AsSingle();
            half[1] = Avx512F.UnpackHigh(ab, cd).AsSingle();
            ab = Avx512F.UnpackHigh(a, b).AsDouble();
            cd = Avx512F.UnpackHigh(c, d).AsDouble();
            half[2] = Avx512F.UnpackLow(ab, cd).AsSingle();
            half[3] = Avx512F.UnpackHigh(ab, cd).AsSingle();
        }

        half -= Size;
        Vector512<float>* whole = stackalloc Vector512<float>[Size];
        for (int i = 0; i < 4; i++)
        {
            // Then the quarters among four registers.
            Vector512<float> a = half[i], b = half[i + 4], c = half[i + 8], d = half[i + 12];
            Vector512<float> low = Avx512F.Shuffle4x128(a, b, 0b10_00_10_00), high = Avx512F.Shuffle4x128(c, d, 0b10_00_10_00);
            whole[i] = Avx512F.Shuffle4x128(low, high, 0b10_00_10_00);
            whole[i + 8] = Avx512F.Shuffle4x128(low, high, 0b11_01_11_01);
            low = Avx512F.Shuffle4x128(a, b, 0b11_01_11_01);
            high = Avx512F.Shuffle4x128(c, d, 0b11_01_11_01);
            whole[i + 4] = Avx512F.Shuffle4x128(low, high, 0b10_00_10_00);
            whole[i + 12] = Avx512F.Shuffle4x128(low, high, 0b11_01_11_01);
        }

        for (int i = 0; i < columns; i++, to += toPitch)
        {
            whole[i].Store((float*)to);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Row(byte* from, long pitch, int rows, int row) => row < rows ? Vector512.Load((float*)(from + (row * pitch))) : default;
}

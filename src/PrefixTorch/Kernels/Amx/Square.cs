using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels.Amx;

/// <summary>Turns squares of sixteen by sixteen 32-bit numbers: columns become rows.</summary>
internal static unsafe class Square
{
    /// <summary>Rows, and columns.</summary>
    public const int Size = 16;

    private const int RowBytes = Size * sizeof(float);

    /// <summary>
    /// Reads <paramref name="rows"/> rows of sixteen, <paramref name="pitch"/> bytes apart; the others are zeros. Writes <paramref name="columns"/> of the columns
    /// as whole rows of sixteen, <paramref name="toPitch"/> bytes apart, in order: where these are fewer, each overwrites what the one before has too much.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization), SkipLocalsInit]
    public static void Turn(byte* from, long pitch, int rows, byte* to, long toPitch, int columns)
    {
        if (rows == Size && columns == 4)
        {
            Narrow(from, pitch, (float*)to, toPitch / sizeof(float));
            return;
        }

        if (rows < Size || columns < Size)
        {
            Some(from, pitch, rows, to, toPitch, columns);
            return;
        }

        // Written out, so that all of it stays in registers. Four rows at a time: squares of four by four within each quarter of a register.
        long pitch3 = 3 * pitch, toPitch3 = 3 * toPitch;
        Four(from, pitch, pitch3, out Vector512<float> r0, out Vector512<float> r1, out Vector512<float> r2, out Vector512<float> r3);
        Four(from + (4 * pitch), pitch, pitch3, out Vector512<float> r4, out Vector512<float> r5, out Vector512<float> r6, out Vector512<float> r7);
        Four(from + (8 * pitch), pitch, pitch3, out Vector512<float> r8, out Vector512<float> r9, out Vector512<float> r10, out Vector512<float> r11);
        Four(from + (12 * pitch), pitch, pitch3, out Vector512<float> r12, out Vector512<float> r13, out Vector512<float> r14, out Vector512<float> r15);

        // Then the quarters among four registers.
        Quarters(ref r0, ref r4, ref r8, ref r12);
        Quarters(ref r1, ref r5, ref r9, ref r13);
        Quarters(ref r2, ref r6, ref r10, ref r14);
        Quarters(ref r3, ref r7, ref r11, ref r15);

        // Register i + 4 j is column i + 4 j.
        Store(to, toPitch, toPitch3, r0, r1, r2, r3);
        Store(to + (4 * toPitch), toPitch, toPitch3, r4, r5, r6, r7);
        Store(to + (8 * toPitch), toPitch, toPitch3, r8, r9, r10, r11);
        Store(to + (12 * toPitch), toPitch, toPitch3, r12, r13, r14, r15);
    }

    // Fewer rows or columns: through a whole square.
    [SkipLocalsInit]
    private static void Some(byte* from, long pitch, int rows, byte* to, long toPitch, int columns)
    {
        float* before = stackalloc float[Size * Size], after = stackalloc float[Size * Size];
        for (int row = 0; row < Size; row++)
        {
            (row < rows ? Vector512.Load((float*)(from + (row * pitch))) : default).Store(before + (row * Size));
        }

        Turn((byte*)before, RowBytes, Size, (byte*)after, RowBytes, Size);
        for (int column = 0; column < columns; column++, to += toPitch)
        {
            Vector512.Load(after + (column * Size)).Store((float*)to);
        }
    }

    // Four columns: a register of every fourth row's.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Narrow(byte* from, long pitch, float* to, long toPitch)
    {
        Vector512<float> a = EveryFourth(from, pitch), b = EveryFourth(from + pitch, pitch), c = EveryFourth(from + (2 * pitch), pitch), d = EveryFourth(from + (3 * pitch), pitch);
        Vector512<double> ab = Avx512F.UnpackLow(a, b).AsDouble(), cd = Avx512F.UnpackLow(c, d).AsDouble();
        Avx512F.UnpackLow(ab, cd).AsSingle().Store(to);
        Avx512F.UnpackHigh(ab, cd).AsSingle().Store(to + toPitch);
        ab = Avx512F.UnpackHigh(a, b).AsDouble();
        cd = Avx512F.UnpackHigh(c, d).AsDouble();
        Avx512F.UnpackLow(ab, cd).AsSingle().Store(to + (2 * toPitch));
        Avx512F.UnpackHigh(ab, cd).AsSingle().Store(to + (3 * toPitch));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> EveryFourth(byte* row, long pitch) => Vector512.Create(
        Vector256.Create(Vector128.Load((float*)row), Vector128.Load((float*)(row + (4 * pitch)))),
        Vector256.Create(Vector128.Load((float*)(row + (8 * pitch))), Vector128.Load((float*)(row + (12 * pitch)))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Four(byte* from, long pitch, long pitch3, out Vector512<float> r0, out Vector512<float> r1, out Vector512<float> r2, out Vector512<float> r3)
    {
        Vector512<float> a = Vector512.Load((float*)from), b = Vector512.Load((float*)(from + pitch));
        Vector512<float> c = Vector512.Load((float*)(from + (2 * pitch))), d = Vector512.Load((float*)(from + pitch3));
        Vector512<double> ab = Avx512F.UnpackLow(a, b).AsDouble(), cd = Avx512F.UnpackLow(c, d).AsDouble();
        r0 = Avx512F.UnpackLow(ab, cd).AsSingle();
        r1 = Avx512F.UnpackHigh(ab, cd).AsSingle();
        ab = Avx512F.UnpackHigh(a, b).AsDouble();
        cd = Avx512F.UnpackHigh(c, d).AsDouble();
        r2 = Avx512F.UnpackLow(ab, cd).AsSingle();
        r3 = Avx512F.UnpackHigh(ab, cd).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Quarters(ref Vector512<float> a, ref Vector512<float> b, ref Vector512<float> c, ref Vector512<float> d)
    {
        Vector512<float> even1 = Avx512F.Shuffle4x128(a, b, 0b10_00_10_00), even2 = Avx512F.Shuffle4x128(c, d, 0b10_00_10_00);
        Vector512<float> odd1 = Avx512F.Shuffle4x128(a, b, 0b11_01_11_01), odd2 = Avx512F.Shuffle4x128(c, d, 0b11_01_11_01);
        a = Avx512F.Shuffle4x128(even1, even2, 0b10_00_10_00);
        b = Avx512F.Shuffle4x128(odd1, odd2, 0b10_00_10_00);
        c = Avx512F.Shuffle4x128(even1, even2, 0b11_01_11_01);
        d = Avx512F.Shuffle4x128(odd1, odd2, 0b11_01_11_01);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(byte* to, long pitch, long pitch3, Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d)
    {
        a.Store((float*)to);
        b.Store((float*)(to + pitch));
        c.Store((float*)(to + (2 * pitch)));
        d.Store((float*)(to + pitch3));
    }
}

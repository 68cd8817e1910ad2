using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>Rounds activations to bytes: makes <see cref="CodedRows"/>, and a group at a time what <see cref="Panels.GroupRows"/> has. Every width gives the same bits.</summary>
internal static unsafe class CodedActivations<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    private const int Lanes = CodedRows.Lanes;
    private const int Line = Lanes * sizeof(int);

    /// <summary>Rounds one row of floats, <c>[columns]</c>, into a row of <paramref name="to"/>.</summary>
    [SkipLocalsInit]
    public static void Encode<TElement>(byte* x, CodedRows to, int row)
        where TElement : struct, IElement
    {
        float* values = stackalloc float[CodedRows.Block];
        sbyte* bytes = stackalloc sbyte[CodedRows.Block];
        byte* block = to.Row(row);
        for (int k = 0; k < to.Columns; k += CodedRows.Block, block += to.BlockSize)
        {
            int count = Math.Min(CodedRows.Block, to.Columns - k);
            RowKernels<TVectors, TVector>.Convert<TElement, Float32Element>(x + (long)k * TElement.Size, (byte*)values, count);
            new Span<float>(values + count, CodedRows.Block - count).Clear();
            var scales = (float*)block;
            int* corrections = (int*)(block + CodedRows.CorrectionsAt);
            byte* coded = block + CodedRows.ValuesAt;
            switch (to.Order)
            {
                case CodedOrder.Bytes:
                    Bytes(values, scales, corrections, (sbyte*)coded);
                    break;
                default:
                    Bytes(values, scales, corrections, bytes);
                    Words(bytes, scales, (short*)coded);
                    break;
            }
        }
    }

    // For int8: lane l has four values of every 64.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static void Bytes(float* values, float* scales, int* corrections, sbyte* to)
    {
        float* lanes = stackalloc float[Line];
        TVector zero = TVectors.Broadcast(0), whole = TVectors.Broadcast(WholeNumbers.Shift);
        for (int i = 0; i < Line; i += TVectors.Width)
        {
            TVector largest = zero, strange = zero;
            for (int k = i; k < CodedRows.Block; k += Line)
            {
                Magnitude<TVectors, TVector>.Measure(TVectors.Load(values + k), ref largest, ref strange);
            }

            // Not a number where one of them is none.
            TVectors.Store(TVectors.Add(largest, strange), lanes + i);
        }

        for (int lane = 0; lane < Lanes; lane++)
        {
            float* four = lanes + (lane * 4);
            scales[lane] = ScaleOf(MathF.Max(MathF.Max(four[0], four[1]), MathF.Max(four[2], four[3])), out float inverse);
            Vector128.Create(inverse).Store(four);
        }

        for (int i = 0; i < Line; i += TVectors.Width)
        {
            TVector inverse = TVectors.Load(lanes + i), sum = zero;
            for (int k = i; k < CodedRows.Block; k += Line)
            {
                TVector value = TVectors.Multiply(TVectors.Load(values + k), inverse);
                TVectors.StoreInt8(value, to + k);
                sum = TVectors.Add(sum, TVectors.Subtract(TVectors.Add(value, whole), whole));
            }

            TVectors.Store(sum, lanes + i);
        }

        for (int lane = 0; lane < Lanes; lane++)
        {
            float* four = lanes + (lane * 4);
            corrections[lane] = -CodedRows.Int8Offset * (int)(four[0] + four[1] + four[2] + four[3]);
        }
    }

    // Of every 64 the even ones and then the odd ones; and scales for codes that are 256 times as large.
    private static void Words(sbyte* from, float* scales, short* to)
    {
        for (int k = 0; k < CodedRows.Block; k += Line, to += Line)
        {
            for (int half = 0; half < Line; half += Vector256<sbyte>.Count)
            {
                Vector256<short> words = Vector256.Load(from + k + half).AsInt16();
                ((words << 8) >> 8).Store(to + (half / 2));
                (words >> 8).Store(to + ((Line + half) / 2));
            }
        }

        for (int lane = 0; lane < Lanes; lane++)
        {
            scales[lane] /= 256;
        }
    }

    /// <summary>Rounds the values of a group of int4, which then stand as the codes come out of their words; <paramref name="correction"/> is for its zero point.</summary>
    /// <returns>Their scale, a 16th of which it is.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Group(float* values, sbyte* to, out float correction)
    {
        float scale = Run(values, CodeFormat.Group, to, out TVector sum);
        correction = -TVectors.Sum(sum);

        // Of eight weights the lower four bits of a word's bytes are 0, 4, 1 and 5, the upper ones 2, 6, 3 and 7.
        var order = Vector128.Create((byte)0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
        Vector128.Shuffle(Vector128.Load((byte*)to), order).Store((byte*)to);
        Vector128.Shuffle(Vector128.Load((byte*)to + 16), order).Store((byte*)to + 16);
        return scale / CodeFormat.ZeroParts;
    }

    /// <summary>Rounds values that lie side by side, a multiple of a register; <paramref name="sum"/> is the sum of what they become, lane by lane.</summary>
    /// <returns>Their scale.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Run(float* values, int count, sbyte* to, out TVector sum)
    {
        TVector zero = TVectors.Broadcast(0), whole = TVectors.Broadcast(WholeNumbers.Shift), largest = zero, strange = zero;
        for (int i = 0; i < count; i += TVectors.Width)
        {
            Magnitude<TVectors, TVector>.Measure(TVectors.Load(values + i), ref largest, ref strange);
        }

        float scale = ScaleOf(TVectors.Largest(largest) + TVectors.Sum(strange), out float inverse);
        TVector inverses = TVectors.Broadcast(inverse);
        sum = zero;
        for (int i = 0; i < count; i += TVectors.Width)
        {
            TVector value = TVectors.Multiply(TVectors.Load(values + i), inverses);
            TVectors.StoreInt8(value, to + i);
            sum = TVectors.Add(sum, TVectors.Subtract(TVectors.Add(value, whole), whole));
        }

        return scale;
    }

    private static float ScaleOf(float largest, out float inverse)
    {
        float scale = largest / Int8Rows.Largest;
        inverse = scale >= Int8Rows.SmallestScale ? Int8Rows.Largest / largest : 0;
        return float.IsNaN(scale) || inverse > 0 ? scale : 0;
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>
/// Activations as the products with codes read them: signed bytes, with one scale for each 32 of them that meet in a lane. So a product is exact in
/// integers within a lane and a block, on every machine, and a processor does twice as many of them as of any floats.
/// </summary>
/// <remarks>
/// <para>
/// A row is cut into blocks of 512, the last one padded with zeros, each of <see cref="BlockBytes"/>: sixteen scales, fp32; sixteen corrections, int32;
/// and eight registers of sixteen 32-bit words, four values each. For int8 they stand in order, and lane <c>l</c> has word <c>l</c> of every register;
/// for int4 they stand as the codes do (<see cref="CodeFormat"/>), and a lane has the values of a group.
/// </para>
/// <para>
/// What a product wants to be corrected by is a multiple of the lane's sum of values: of int4, for the zero points, −1 times it, and the scale is a 16th
/// of the values' since zero points count sixteenths; of int8, whose codes a tile makes unsigned by adding 128, −128 times it.
/// </para>
/// <para>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</para>
/// </remarks>
internal readonly unsafe struct CodedRows(byte* data, int rows, int columns)
{
    /// <summary>Values of a block.</summary>
    public const int Block = CodeFormat.Int4Block;

    /// <summary>Where in a block its corrections begin, in bytes.</summary>
    public const int CorrectionsAt = CodeFormat.Groups * sizeof(float);

    /// <summary>Where in a block its values begin, in bytes.</summary>
    public const int ValuesAt = 2 * CorrectionsAt;

    /// <summary>Bytes of a block.</summary>
    public const int BlockBytes = ValuesAt + Block;

    /// <summary>What the corrections of int8 are multiples of.</summary>
    public const int Int8Offset = 128;

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Values of a row.</summary>
    public int Columns => columns;

    /// <summary>Blocks of a row.</summary>
    public int Blocks => BlocksOf(columns);

    /// <summary>Bytes from one row to the next.</summary>
    public long Pitch => PitchOf(columns);

    /// <summary>Memory for so many rows.</summary>
    public static long Bytes(int rows, int columns) => rows * PitchOf(columns);

    /// <summary>The first block of a row.</summary>
    public byte* Row(int row) => data + row * Pitch;

    private static int BlocksOf(int columns) => (columns + Block - 1) / Block;

    private static long PitchOf(int columns) => (long)BlocksOf(columns) * BlockBytes;
}

/// <summary>Makes <see cref="CodedRows"/>. Every width gives the same bits.</summary>
internal static unsafe class CodedActivations<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    // Above it a float has no room for a fraction: adding it rounds to an integer, ties to even, as storing one does.
    private const float Whole = 1.5f * (1 << 23);

    private const int Words = CodeFormat.Groups;
    private const int Line = Words * sizeof(int);

    /// <summary>Rounds one row of floats, <c>[columns]</c>, for codes of one kind.</summary>
    [SkipLocalsInit]
    public static void Encode<TElement>(byte* x, int columns, bool int4, byte* to)
        where TElement : struct, IElement
    {
        float* values = stackalloc float[CodedRows.Block];
        for (int k = 0; k < columns; k += CodedRows.Block, to += CodedRows.BlockBytes)
        {
            int count = Math.Min(CodedRows.Block, columns - k);
            RowKernels<TVectors, TVector>.Convert<TElement, Float32Element>(x + (long)k * TElement.Size, (byte*)values, count);
            new Span<float>(values + count, CodedRows.Block - count).Clear();
            if (int4)
            {
                Groups(values, (float*)to, (int*)(to + CodedRows.CorrectionsAt), to + CodedRows.ValuesAt);
            }
            else
            {
                InOrder(values, (float*)to, (int*)(to + CodedRows.CorrectionsAt), (sbyte*)to + CodedRows.ValuesAt);
            }
        }
    }

    // For int8: lane l has four values of every 64.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static void InOrder(float* values, float* scales, int* corrections, sbyte* to)
    {
        float* lanes = stackalloc float[Line];
        TVector zero = TVectors.Broadcast(0), whole = TVectors.Broadcast(Whole);
        for (int i = 0; i < Line; i += TVectors.Width)
        {
            TVector largest = zero, strange = zero;
            for (int k = i; k < CodedRows.Block; k += Line)
            {
                Measure(TVectors.Load(values + k), ref largest, ref strange);
            }

            // Not a number where one of them is none.
            TVectors.Store(TVectors.Add(largest, strange), lanes + i);
        }

        for (int lane = 0; lane < Words; lane++)
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

        for (int lane = 0; lane < Words; lane++)
        {
            float* four = lanes + (lane * 4);
            corrections[lane] = -CodedRows.Int8Offset * (int)(four[0] + four[1] + four[2] + four[3]);
        }
    }

    // For int4: lane g has the 32 values of group g.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static void Groups(float* values, float* scales, int* corrections, byte* to)
    {
        sbyte* rounded = stackalloc sbyte[CodeFormat.Group];
        TVector zero = TVectors.Broadcast(0), whole = TVectors.Broadcast(Whole);
        for (int group = 0; group < CodeFormat.Groups; group++, values += CodeFormat.Group)
        {
            TVector largest = zero, strange = zero, sum = zero;
            for (int i = 0; i < CodeFormat.Group; i += TVectors.Width)
            {
                Measure(TVectors.Load(values + i), ref largest, ref strange);
            }

            scales[group] = ScaleOf(TVectors.Largest(largest) + TVectors.Sum(strange), out float inverse) / CodeFormat.ZeroParts;
            TVector inverses = TVectors.Broadcast(inverse);
            for (int i = 0; i < CodeFormat.Group; i += TVectors.Width)
            {
                TVector value = TVectors.Multiply(TVectors.Load(values + i), inverses);
                TVectors.StoreInt8(value, rounded + i);
                sum = TVectors.Add(sum, TVectors.Subtract(TVectors.Add(value, whole), whole));
            }

            corrections[group] = -(int)TVectors.Sum(sum);

            // Of eight weights the lower four bits of a word's bytes are 0, 4, 1 and 5, the upper ones 2, 6, 3 and 7.
            var order = Vector128.Create((byte)0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
            int* words = (int*)to + group;
            for (int half = 0; half < 2; half++)
            {
                Vector128<int> four = Vector128.Shuffle(Vector128.Load((byte*)rounded + half * 16), order).AsInt32();
                words[0] = four[0];
                words[Words] = four[1];
                words[2 * Words] = four[2];
                words[3 * Words] = four[3];
                words += 4 * Words;
            }
        }
    }

    // A register's maximum may pass over what is not a number; its product with zero does not.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Measure(TVector value, ref TVector largest, ref TVector strange)
    {
        TVector zero = TVectors.Broadcast(0);
        largest = TVectors.Max(largest, TVectors.Max(value, TVectors.Subtract(zero, value)));
        strange = TVectors.MultiplyAdd(value, zero, strange);
    }

    private static float ScaleOf(float largest, out float inverse)
    {
        float scale = largest / Int8Rows.Largest;
        inverse = scale >= Int8Rows.SmallestScale ? Int8Rows.Largest / largest : 0;
        return float.IsNaN(scale) || inverse > 0 ? scale : 0;
    }
}

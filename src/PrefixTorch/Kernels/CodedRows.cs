using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>
/// Activations as the products with codes read them: sixteen bits, with one scale for each block of 128. Fifteen bits of a block's largest
/// value are more than bf16 keeps of any, so that this rounding is far below that of the weights.
/// </summary>
/// <remarks>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</remarks>
internal readonly unsafe struct CodedRows(byte* data, int rows, int columns)
{
    /// <summary>Corrections of a block: one for each of its 32-bit words.</summary>
    public const int Words = CodeFormat.Int4BlockBytes / sizeof(uint);

    private readonly int _blocks = CodeFormat.Blocks(columns);

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Blocks of a row.</summary>
    public int Blocks => _blocks;

    /// <summary>Memory for so many rows: values, and for each block a scale and a correction.</summary>
    public static long Bytes(int rows, int columns) =>
        (long)rows * CodeFormat.Blocks(columns) * ((CodeFormat.Block * sizeof(short)) + sizeof(float) + (Words * sizeof(int)));

    /// <summary>A row's values, <c>[blocks, 4, 32]</c>: the four registers that meet one block of codes.</summary>
    public short* Values(int row) => (short*)data + (long)row * _blocks * CodeFormat.Block;

    /// <summary>A row's corrections for int4's zero, <c>[blocks, 16]</c>: −8 × the values that meet each 32-bit word.</summary>
    public int* Corrections(int row) => (int*)(data + (long)rows * _blocks * CodeFormat.Block * sizeof(short)) + (long)row * _blocks * Words;

    /// <summary>A row's scales, <c>[blocks]</c>.</summary>
    public float* Scales(int row) => (float*)(data + (long)rows * _blocks * ((CodeFormat.Block * sizeof(short)) + (Words * sizeof(int)))) + (long)row * _blocks;
}

/// <summary>Makes <see cref="CodedRows"/>, and multiplies them by codes.</summary>
internal static unsafe class CodedActivations<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>Rounds one row of <paramref name="columns"/> floats; in the order of int4's words, or as it is for int8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Encode(float* x, int columns, bool int4, CodedRows to, int row)
    {
        float* padded = stackalloc float[CodeFormat.Block];
        short* rounded = stackalloc short[CodeFormat.Block];
        for (int block = 0; block < to.Blocks; block++)
        {
            int start = block * CodeFormat.Block, count = Math.Min(CodeFormat.Block, columns - start);
            float* from = x + start;
            if (count < CodeFormat.Block)
            {
                new Span<float>(padded, CodeFormat.Block).Clear();
                new ReadOnlySpan<float>(from, count).CopyTo(new Span<float>(padded, count));
                from = padded;
            }

            short* values = to.Values(row) + block * CodeFormat.Block;
            to.Scales(row)[block] = Round(from, int4 ? rounded : values);
            if (int4)
            {
                Interleave(rounded, values, to.Corrections(row) + block * CodedRows.Words);
            }
        }
    }

    private static float Round(float* from, short* to)
    {
        float largest = 0;
        for (int i = 0; i < CodeFormat.Block; i++)
        {
            largest = MathF.Max(largest, MathF.Abs(from[i]));
        }

        TVector inverse = TVectors.Broadcast(largest == 0 ? 0 : 32767 / largest);
        for (int i = 0; i < CodeFormat.Block; i += TVectors.Width)
        {
            TVectors.StoreInt16(TVectors.Multiply(TVectors.Load(from + i), inverse), to + i);
        }

        return largest / 32767;
    }

    // Pairs of neighbours stay together: pair p of eight-weight run r of group g goes to register p, word 4 r + g.
    private static void Interleave(short* from, short* to, int* corrections)
    {
        var pairs = (int*)from;
        var places = (int*)to;
        for (int word = 0; word < CodedRows.Words; word++)
        {
            int first = (word % 4 * CodeFormat.Group / 2) + (word / 4 * 4), sum = 0;
            for (int p = 0; p < 4; p++)
            {
                int pair = pairs[first + p];
                places[p * CodedRows.Words + word] = pair;
                sum += (short)pair + (pair >> 16);
            }

            corrections[word] = -CodeFormat.Int4Zero * sum;
        }
    }
}

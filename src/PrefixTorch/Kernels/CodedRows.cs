using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>
/// Activations as the products with codes read them: sixteen bits, with one scale for each block of weights. Fifteen bits of a block's largest
/// value are more than bf16 keeps of any, so that this rounding is far below that of the weights.
/// </summary>
/// <remarks>A view of memory that its maker owns; <see cref="Bytes"/> says how much.</remarks>
internal readonly unsafe struct CodedRows(byte* data, int rows, int columns, bool int4)
{
    private readonly int _block = BlockOf(int4);
    private readonly int _blocks = BlocksOf(columns, int4);

    /// <summary>Rows.</summary>
    public int Rows => rows;

    /// <summary>Blocks of a row.</summary>
    public int Blocks => _blocks;

    /// <summary>Memory for so many rows: values, and for each block a scale and the groups' sums.</summary>
    public static long Bytes(int rows, int columns, bool int4) =>
        (long)rows * BlocksOf(columns, int4) * ((BlockOf(int4) * sizeof(short)) + sizeof(float) + (CodeFormat.Groups * sizeof(float)));

    /// <summary>A row's values, block by block: in order for int8; for int4 the sixteen registers that meet one block of codes.</summary>
    public short* Values(int row) => (short*)data + (long)row * _blocks * _block;

    /// <summary>A row's sums for int4's zero points, <c>[blocks, 16]</c>: −1/16 × the sum of a group's values.</summary>
    public float* Sums(int row) => (float*)(data + (long)rows * _blocks * _block * sizeof(short)) + (long)row * _blocks * CodeFormat.Groups;

    /// <summary>A row's scales, <c>[blocks]</c>.</summary>
    public float* Scales(int row) => (float*)(data + (long)rows * _blocks * ((_block * sizeof(short)) + (CodeFormat.Groups * sizeof(float)))) + (long)row * _blocks;

    private static int BlockOf(bool int4) => int4 ? CodeFormat.Int4Block : CodeFormat.Int8Block;

    private static int BlocksOf(int columns, bool int4) => int4 ? CodeFormat.Int4Blocks(columns) : CodeFormat.Int8Blocks(columns);
}

/// <summary>Makes <see cref="CodedRows"/>.</summary>
internal static unsafe class CodedActivations<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>Rounds one row of <paramref name="columns"/> floats; in the order of int4's words, or as it is for int8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Encode(float* x, int columns, bool int4, CodedRows to, int row)
    {
        int length = int4 ? CodeFormat.Int4Block : CodeFormat.Int8Block;
        float* padded = stackalloc float[CodeFormat.Int4Block];
        short* rounded = stackalloc short[CodeFormat.Int4Block];
        for (int block = 0; block < to.Blocks; block++)
        {
            int start = block * length, count = Math.Min(length, columns - start);
            float* from = x + start;
            if (count < length)
            {
                new Span<float>(padded, length).Clear();
                new ReadOnlySpan<float>(from, count).CopyTo(new Span<float>(padded, count));
                from = padded;
            }

            short* values = to.Values(row) + block * length;
            to.Scales(row)[block] = Round(from, int4 ? rounded : values, length);
            if (int4)
            {
                Interleave(rounded, values, to.Sums(row) + block * CodeFormat.Groups);
            }
        }
    }

    private static float Round(float* from, short* to, int length)
    {
        float largest = 0;
        for (int i = 0; i < length; i++)
        {
            largest = MathF.Max(largest, MathF.Abs(from[i]));
        }

        TVector inverse = TVectors.Broadcast(largest == 0 ? 0 : 32767 / largest);
        for (int i = 0; i < length; i += TVectors.Width)
        {
            TVectors.StoreInt16(TVectors.Multiply(TVectors.Load(from + i), inverse), to + i);
        }

        return largest / 32767;
    }

    // Pairs of neighbours stay together: pair p of group g goes to register p, word g.
    private static void Interleave(short* from, short* to, float* sums)
    {
        const int Pairs = CodeFormat.Group / 2;
        var pairs = (int*)from;
        var places = (int*)to;
        for (int group = 0; group < CodeFormat.Groups; group++)
        {
            int sum = 0;
            for (int p = 0; p < Pairs; p++)
            {
                int pair = pairs[(group * Pairs) + p];
                places[(p * CodeFormat.Groups) + group] = pair;
                sum += (short)pair + (pair >> 16);
            }

            sums[group] = -sum / (float)CodeFormat.ZeroParts;
        }
    }
}

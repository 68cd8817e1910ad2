using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>What tells int8 from int4 in the loops that both share.</summary>
internal unsafe interface ICodes
{
    /// <summary>Weights of a row's block; the last one of a row may be shorter.</summary>
    static abstract int Block { get; }

    /// <summary>Bytes of a whole block.</summary>
    static abstract int BlockBytes { get; }

    /// <summary>How the activations stand.</summary>
    static abstract CodedOrder Order { get; }

    /// <summary>Bytes of the activations' block.</summary>
    static abstract int ActivationBytes { get; }

    /// <summary>Bytes of a row.</summary>
    static abstract long Pitch(int columns);

    /// <summary>How many cache lines of codes a block has, when so many columns are left. Each meets two lines of values.</summary>
    static abstract int Runs(int columns);

    /// <summary>Codes of a run, from byte <paramref name="at"/> of 64 on.</summary>
    static abstract TVector Load<TVectors, TVector>(byte* block, int run, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary>Those of them that meet the first line of values.</summary>
    static abstract TVector First<TVectors, TVector>(TVector bytes)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary>Those of them that meet the second line of values.</summary>
    static abstract TVector Second<TVectors, TVector>(TVector bytes)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary>Adds to <paramref name="dot"/> the products of codes and values, exact in integers.</summary>
    static abstract TVector Dot<TVectors, TVector>(TVector dot, TVector codes, TVector values)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary>What a block's products are weighed with, the same for all rows; nothing where a row's scale is all there is.</summary>
    static abstract void Weigh<TVectors, TVector>(byte* block, int at, out TVector scale, out TVector zeros)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary><paramref name="sum"/> and what a block gives, but for the row's scale: its products are <paramref name="dot"/>, and <paramref name="x"/> is the activations' block.</summary>
    static abstract TVector Add<TVectors, TVector>(TVector sum, TVector dot, TVector scale, TVector zeros, byte* x, long at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;
}

/// <summary>Signed bytes in order, which meet <see cref="CodedOrder.Words"/>.</summary>
internal unsafe struct Int8Codes : ICodes
{
    public static int Block => CodedRows.Block;

    public static int BlockBytes => CodedRows.Block;

    public static CodedOrder Order => CodedOrder.Words;

    public static int ActivationBytes => CodedRows.WordBlockBytes;

    public static long Pitch(int columns) => CodeFormat.Int8Blocks(columns) * CodeFormat.Int8Block;

    public static int Runs(int columns) => Math.Min(CodedRows.Block, CodeFormat.Int8Blocks(columns) * CodeFormat.Int8Block) / Streams.Line;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* block, int run, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.Load((float*)(block + (run * Streams.Line) + at));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TVectors, TVector>(TVector bytes)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.LowBytes(bytes);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TVectors, TVector>(TVector bytes)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.HighBytes(bytes);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Dot<TVectors, TVector>(TVector dot, TVector codes, TVector values)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.DotInt16(dot, codes, values);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Weigh<TVectors, TVector>(byte* block, int at, out TVector scale, out TVector zeros)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => scale = zeros = default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Add<TVectors, TVector>(TVector sum, TVector dot, TVector scale, TVector zeros, byte* x, long at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.MultiplyAdd(TVectors.ToFloat(dot), TVectors.Load((float*)(x + at)), sum);
}

/// <summary>Four bits, and a group to a lane; they meet <see cref="CodedOrder.Groups"/>.</summary>
internal unsafe struct Int4Codes : ICodes
{
    // Two sixteen-bit lanes of what a step has parts that zero points count.
    private const int Parts = CodeFormat.ZeroParts * 0x10001;

    public static int Block => CodeFormat.Int4Block;

    public static int BlockBytes => CodeFormat.Int4BlockBytes;

    public static CodedOrder Order => CodedOrder.Groups;

    public static int ActivationBytes => CodedRows.BlockBytes;

    public static long Pitch(int columns) => CodeFormat.Int4Blocks(columns) * CodeFormat.Int4BlockBytes;

    public static int Runs(int columns) => CodeFormat.Int4Block / 2 / Streams.Line;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* block, int run, int at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.Load((float*)(block + CodeFormat.Int4Header + (run * Streams.Line) + at));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TVectors, TVector>(TVector bytes)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.LowNibbles(bytes);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TVectors, TVector>(TVector bytes)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.HighNibbles(bytes);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Dot<TVectors, TVector>(TVector dot, TVector codes, TVector values)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.DotNibbles(dot, codes, values);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Weigh<TVectors, TVector>(byte* block, int at, out TVector scale, out TVector zeros)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        byte* lanes = block + ((uint)at / sizeof(float));
        TVector u = TVectors.ToFloat(TVectors.LoadUInt8AsInt32(lanes));
        scale = TVectors.Multiply(u, u);
        zeros = TVectors.LoadUInt8AsInt32(lanes + CodeFormat.Groups);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Add<TVectors, TVector>(TVector sum, TVector dot, TVector scale, TVector zeros, byte* x, long at)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        TVector parts = TVectors.Broadcast(BitConverter.Int32BitsToSingle(Parts)), corrections = TVectors.Load((float*)(x + CodedRows.CorrectionsAt + at));
        TVector whole = TVectors.DotInt16(TVectors.DotInt16(TVectors.Broadcast(0), dot, parts), zeros, corrections);
        return TVectors.MultiplyAdd(TVectors.Multiply(TVectors.ToFloat(whole), TVectors.Load((float*)(x + at))), scale, sum);
    }
}

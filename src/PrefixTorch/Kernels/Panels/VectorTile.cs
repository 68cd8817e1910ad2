using System.Runtime.CompilerServices;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Panels;

/// <summary>By vectors of any width: exact in 16-bit integers within a group, whose eight products of bytes they hold.</summary>
internal readonly unsafe struct VectorTile<TVectors, TVector> : IPanelTile
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    private const int Line = Streams.Line;

    // Two sixteen-bit lanes of what a step has parts that zero points count.
    private const int Parts = CodeFormat.ZeroParts * 0x10001;

    // So few rows are worth a tile of eight, although it computes all eight; fewer go four together, and fewest one after the other.
    private const int FewestByEight = 7;
    private const int FewestTogether = 3;

    // Blocks whose codes stay in the first cache level while a panel's parts, each as wide as a register, are computed.
    private const int Near = 16;

    public static int MostRows => 8;

    private static int Group => MostRows * TVectors.Width;

    [SkipLocalsInit]
    public static void Multiply(int rows, TileArguments* arguments)
    {
        TileArguments some = *arguments;
        for (long left = arguments->Steps; left > 0; left -= Near, some.Adds = 1)
        {
            some.Steps = Math.Min(Near, left);
            if (rows >= FewestByEight)
            {
                Add<Eight>(rows, 0, &some);
            }
            else
            {
                for (int row = 0; row < rows;)
                {
                    int together = rows - row >= FewestTogether ? Math.Min(4, rows - row) : 1;
                    if (together > 1)
                    {
                        Add<Four>(together, row, &some);
                    }
                    else
                    {
                        Add<One>(1, row, &some);
                    }

                    row += together;
                }
            }

            some.Weights += Near * CodeFormat.Int4BlockBytes;
            some.X += Near * 2 * some.XPitch;
            some.XScales += Near * 2 * some.XPitch;
        }
    }

    [SkipLocalsInit]
    private static void Add<TRows>(int rows, int first, TileArguments* arguments)
        where TRows : struct, IRows
    {
        float* sums = stackalloc float[Group];
        for (int lane = 0; lane < CodeFormat.Panel; lane += TVectors.Width)
        {
            for (int row = 0; row < TRows.Count; row++)
            {
                float* y = (float*)((byte*)arguments->Y + (Math.Min(first + row, first + rows - 1) * arguments->YPitch)) + lane;
                TVectors.Store(arguments->Adds != 0 ? TVectors.Load(y) : TVectors.Broadcast(0), sums + (row * TVectors.Width));
            }

            AddLanes<TRows>(arguments, first, rows - 1, lane, sums);
            for (int row = 0; row < rows; row++)
            {
                TVectors.Store(TVectors.Load(sums + (row * TVectors.Width)), (float*)((byte*)arguments->Y + ((first + row) * arguments->YPitch)) + lane);
            }
        }
    }

    // Some rows' products with a register's outputs. Fewer rows are the last one again and again.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddLanes<TRows>(TileArguments* arguments, int first, int last, int lane, float* sums)
        where TRows : struct, IRows
    {
        byte* w = arguments->Weights, x = arguments->X + (first * CodeFormat.Group), scales = arguments->XScales + (first * sizeof(float));
        long pitch = arguments->XPitch, toCorrections = arguments->XScaleBytes;
        int at = lane * sizeof(float);
        TVector zero = TVectors.Broadcast(0);
        for (long block = arguments->Steps; block > 0; block--, w += CodeFormat.Int4BlockBytes)
        {
            if (lane == 0)
            {
                Streams.PrefetchAlongPanel(w);
            }

            for (int group = 0; group < 2; group++, x += pitch, scales += pitch)
            {
                byte* codes = w + CodeFormat.Int4Header + (group * CodeFormat.GroupCodes) + at, v = x;
                TVector d0 = zero, d1 = zero, d2 = zero, d3 = zero, d4 = zero, d5 = zero, d6 = zero, d7 = zero;
                for (int line = 0; line < CodeFormat.GroupCodes; line += Line, v += 2 * sizeof(int))
                {
                    TVector bytes = TVectors.Load((float*)(codes + line));
                    TVector c = TVectors.LowNibbles(bytes);
                    d0 = Dot(d0, c, v, 0);
                    if (TRows.Count > 1)
                    {
                        d1 = Dot(d1, c, v, 1);
                        d2 = Dot(d2, c, v, 2);
                        d3 = Dot(d3, c, v, 3);
                    }

                    if (TRows.Count > 4)
                    {
                        d4 = Dot(d4, c, v, 4);
                        d5 = Dot(d5, c, v, 5);
                        d6 = Dot(d6, c, v, 6);
                        d7 = Dot(d7, c, v, 7);
                    }

                    c = TVectors.HighNibbles(bytes);
                    byte* next = v + sizeof(int);
                    d0 = Dot(d0, c, next, 0);
                    if (TRows.Count > 1)
                    {
                        d1 = Dot(d1, c, next, 1);
                        d2 = Dot(d2, c, next, 2);
                        d3 = Dot(d3, c, next, 3);
                    }

                    if (TRows.Count > 4)
                    {
                        d4 = Dot(d4, c, next, 4);
                        d5 = Dot(d5, c, next, 5);
                        d6 = Dot(d6, c, next, 6);
                        d7 = Dot(d7, c, next, 7);
                    }
                }

                byte* header = w + (group * CodeFormat.GroupHeader) + lane;
                TVector u = TVectors.ToFloat(TVectors.LoadUInt8AsInt32(header)), scale = TVectors.Multiply(u, u), zeros = TVectors.ToFloat(TVectors.LoadUInt8AsInt32(header + CodeFormat.Panel));
                Weigh(sums, 0, d0, scale, zeros, scales, toCorrections, last);
                if (TRows.Count > 1)
                {
                    Weigh(sums, 1, d1, scale, zeros, scales, toCorrections, last);
                    Weigh(sums, 2, d2, scale, zeros, scales, toCorrections, last);
                    Weigh(sums, 3, d3, scale, zeros, scales, toCorrections, last);
                }

                if (TRows.Count > 4)
                {
                    Weigh(sums, 4, d4, scale, zeros, scales, toCorrections, last);
                    Weigh(sums, 5, d5, scale, zeros, scales, toCorrections, last);
                    Weigh(sums, 6, d6, scale, zeros, scales, toCorrections, last);
                    Weigh(sums, 7, d7, scale, zeros, scales, toCorrections, last);
                }
            }
        }
    }

    // Four bytes of a row's meet those of every output.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Dot(TVector dot, TVector codes, byte* v, int row) => TVectors.DotNibbles(dot, codes, TVectors.Broadcast(*(float*)(v + (row * CodeFormat.Group))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Weigh(float* sums, int row, TVector dot, TVector scale, TVector zeros, byte* scales, long toCorrections, int last)
    {
        byte* at = scales + ((long)Math.Min(row, last) * sizeof(float));
        TVector parts = TVectors.Broadcast(BitConverter.Int32BitsToSingle(Parts)), correction = TVectors.Broadcast(*(float*)(at + toCorrections));
        TVector whole = TVectors.MultiplyAdd(zeros, correction, TVectors.ToFloat(TVectors.DotInt16(TVectors.Broadcast(0), dot, parts)));
        float* sum = sums + (row * TVectors.Width);
        TVectors.Store(TVectors.MultiplyAdd(TVectors.Multiply(whole, TVectors.Broadcast(*(float*)at)), scale, TVectors.Load(sum)), sum);
    }

    /// <summary>Rows that are computed together, each in a register of its own.</summary>
    private interface IRows
    {
        static abstract int Count { get; }
    }

    private readonly struct Eight : IRows
    {
        public static int Count => 8;
    }

    private readonly struct Four : IRows
    {
        public static int Count => 4;
    }

    private readonly struct One : IRows
    {
        public static int Count => 1;
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>By <c>vdpbf16ps</c>: keys are turned, some at a time, and rows of queries go over them.</summary>
internal unsafe struct VectorPairs : IPairs
{
    // Keys that are turned at a time.
    private const int PanelRows = PairTileEmitter.MostRegisters * PairTileEmitter.Lanes;

    // How many keys ahead memory is asked for them: they mostly lie one behind the other.
    private const long KeysAhead = 16;

    public static int MostRows => PairTileEmitter.MostRows;

    public static int MostRegisters => PairTileEmitter.MostRegisters;

    [SkipLocalsInit]
    public static void Scores<TElement>(KeyValueRun* runs, int limit, int headDim, AttentionQuery* queries, ushort* rounded, int count, float* scores, int pitch)
        where TElement : struct, IElement
    {
        byte** keys = stackalloc byte*[limit];
        KeyValueRun.Rows(runs, limit, headDim * TElement.Size, areValues: false, keys);
        byte* memory = stackalloc byte[(PanelRows * headDim * sizeof(ushort)) + Streams.Line];
        TileArguments arguments = new()
        {
            Weights = Streams.Aligned(memory),
            WeightPitch = PanelRows * sizeof(uint),
            XPitch = (long)headDim * sizeof(ushort),
            YPitch = (long)pitch * sizeof(float),
            Steps = headDim / 2,
        };
        for (int key = 0; key < limit; key += PanelRows)
        {
            int some = Math.Min(PanelRows, limit - key);
            FillKeys<TElement>(keys + key, some, headDim, (uint*)arguments.Weights);
            for (int i = 0, rows; i < count; i += rows)
            {
                rows = Math.Min(MostRows, count - i);
                if (AttentionQuery.Furthest(queries + i, rows) > key)
                {
                    arguments.X = (byte*)(rounded + (i * headDim));
                    arguments.Y = scores + ((long)i * pitch) + key;
                    Multiply(rows, (some + PairTileEmitter.Lanes - 1) / PairTileEmitter.Lanes, &arguments);
                }
            }
        }
    }

    public static void Begin(int rows)
    {
    }

    public static int Fill(uint* panel, int pairs, int headDim) => pairs;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply(int rows, int registers, TileArguments* arguments) => TileCode.GetPairs(rows, registers)(arguments);

    public static void End()
    {
    }

    // [D / 2, keys]: two neighbours of a key to a lane.
    [SkipLocalsInit]
    private static void FillKeys<TElement>(byte** keys, int count, int headDim, uint* panel)
        where TElement : struct, IElement
    {
        if (typeof(TElement) == typeof(BFloat16Element))
        {
            KeyPanel<Float32Element>.Fill(keys, count, headDim / 2, (float*)panel, PanelRows, KeysAhead * headDim * sizeof(ushort));
            return;
        }

        ushort* wide = stackalloc ushort[PanelRows * headDim];
        byte** rows = stackalloc byte*[PanelRows];
        for (int i = 0; i < count; i++)
        {
            rows[i] = (byte*)(wide + (i * headDim));
            RowKernels<Vectors512, Vector512<float>>.Convert<TElement, BFloat16Element>(keys[i], rows[i], headDim);
        }

        KeyPanel<Float32Element>.Fill(rows, count, headDim / 2, (float*)panel, PanelRows, ahead: 0);
    }
}

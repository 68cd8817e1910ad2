using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Amx;

/// <summary>By AMX: keys are a matrix as they lie, and what queries give with them is a product like others; of values sixteen rows meet sixteen pairs at a time.</summary>
internal unsafe struct AmxPairs : IPairs
{
    private const int Step = AmxTileEmitter.Step / 2;

    public static int MostRows => AmxShape.MostRows;

    // Few tiles: see AmxTileEmitter.Sums.
    public static int MostRegisters => 2;

    [SkipLocalsInit]
    public static void Scores<TElement>(KeyValueRun* runs, int limit, int headDim, AttentionQuery* queries, ushort* rounded, int count, float* scores, int pitch)
        where TElement : struct, IElement
    {
        byte* workspace = stackalloc byte[(int)AmxProduct.WorkspaceBytes(AmxShape.TilesOf(count)) + Streams.Line];
        byte* turned = stackalloc byte[(int)AmxRows.Bytes(count, headDim) + Streams.Line];
        var x = new AmxRows(Streams.Aligned(turned), count, headDim);
        for (int piece = 0; piece < x.Pieces; piece++)
        {
            x.Fill(piece, (byte*)rounded, headDim * sizeof(ushort));
        }

        bool isBFloat16 = typeof(TElement) == typeof(BFloat16Element);
        ushort* wide = stackalloc ushort[isBFloat16 ? 0 : limit * headDim];
        int done = 0;
        for (KeyValueRun* run = runs; done < limit; run++)
        {
            int some = Math.Min(run->Count, limit - done);
            byte* matrix = run->Keys;
            if (!isBFloat16)
            {
                matrix = (byte*)wide;
                RowKernels<Vectors512, Vector512<float>>.Convert<TElement, BFloat16Element>(run->Keys, matrix, some * headDim);
            }

            AmxProduct.Run(new TileWeights(TileSource.BFloat16, (nint)matrix, 0, headDim), some, null, 0, some, x, scores + done, pitch, Streams.Aligned(workspace));
            done += some;
        }
    }

    // Tiles of rows are whole if there are several.
    public static void Begin(int rows) => AmxCode.Configure(new(Math.Min(rows, MostRows), AmxShape.RowBytes, AmxShape.RowBytes));

    public static int Fill(uint* panel, int pairs, int headDim)
    {
        int padded = (pairs + Step - 1) / Step * Step;
        new Span<uint>(panel + (pairs * headDim), (padded - pairs) * headDim).Clear();
        return padded;
    }

    public static void Multiply(int rows, int registers, TileArguments* arguments)
    {
        arguments->Steps /= Step;
        AmxCode.Pairs(registers)(arguments);
    }

    public static void End() => AmxCode.Release();
}

using System.Runtime.CompilerServices;
using PrefixTorch.Kernels.Amx;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>How rows of pairs of bf16 meet a panel of pairs: by vectors or by tiles.</summary>
internal unsafe interface IPairs
{
    /// <summary>Rows at most that are multiplied at once.</summary>
    static abstract int MostRows { get; }

    /// <summary>Fills up a panel of so many pairs of rows, <c>[pairs, headDim]</c>, with zeros. Returns how many pairs are multiplied.</summary>
    static abstract int Fill(uint* panel, int pairs, int headDim);

    /// <summary>Some rows by so many times sixteen columns; the arguments are as <see cref="PairTileEmitter"/> has them, and steps are pairs.</summary>
    static abstract void Multiply(int rows, int registers, TileArguments* arguments);
}

/// <summary>By <c>vdpbf16ps</c>.</summary>
internal unsafe struct VectorPairs : IPairs
{
    public static int MostRows => PairTileEmitter.MostRows;

    public static int Fill(uint* panel, int pairs, int headDim) => pairs;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply(int rows, int registers, TileArguments* arguments) => TileCode.GetPairs(rows, registers)(arguments);
}

/// <summary>By AMX: sixteen rows and sixteen pairs at a time. A thread multiplies between <see cref="Begin"/> and <see cref="End"/>.</summary>
internal unsafe struct AmxPairs : IPairs
{
    private const int Step = AmxTileEmitter.Step / 2;

    public static int MostRows => AmxShape.MostRows;

    /// <summary>Makes the tiles fit so many rows, which stand in whole tiles if they are more than one.</summary>
    public static void Begin(int count) => AmxCode.Configure(new(Math.Min(count, MostRows), AmxShape.RowBytes, AmxShape.RowBytes));

    /// <summary>Lets go of the tiles.</summary>
    public static void End() => AmxCode.Release();

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
}

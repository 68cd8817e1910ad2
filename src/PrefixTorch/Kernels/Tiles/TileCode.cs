using PrefixTorch.Kernels.Panels;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>The tiles' code, made when first needed and kept.</summary>
/// <remarks>Safe to use from any thread.</remarks>
internal static unsafe class TileCode
{
    private static readonly Lock s_lock = new();
    private static readonly nint[] s_codes = new nint[3 * (TileShape.MostRows + 1) * (TileShape.MostOutputs + 1) * (TileShape.MostOutputs + 1)];
    private static readonly nint[] s_pairCodes = new nint[(PairTileEmitter.MostRows + 1) * (PairTileEmitter.MostRegisters + 1)];
    private static readonly nint[] s_panels = new nint[PanelEmitter.MostRows + 1];
    private static readonly nint[] s_panelRows = new nint[PanelShape.PanelsAtOnce + 1];
    private static readonly nint[] s_softmax = new nint[2];
    private static readonly bool s_multipliesFloats = Cpu.HasBFloat16Arithmetic && CanMake(TileSource.BFloat16);
    private static readonly bool s_multipliesBytes = Cpu.HasByteArithmetic && CanMake(TileSource.Int8);

    /// <summary>Whether this machine multiplies weights of this kind, and lets a program make code.</summary>
    public static bool Supports(TileSource source) => source == TileSource.BFloat16 ? s_multipliesFloats : s_multipliesBytes;

    /// <summary>The code of a tile; see <see cref="TileEmitter.Emit"/>. A call takes about a microsecond, and needs no transition of the garbage collector.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> Get(TileShape shape, int rowsAhead) =>
        Get(ref s_codes[Index(shape, rowsAhead)], (shape, rowsAhead), static key => TileEmitter.Emit(key.shape, key.rowsAhead));

    /// <summary>The code of a tile of pairs; see <see cref="PairTileEmitter.Emit"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> GetPairs(int rows, int registers) => Get(
        ref s_pairCodes[(rows * (PairTileEmitter.MostRegisters + 1)) + registers], (rows, registers), static key => PairTileEmitter.Emit(key.rows, key.registers));

    /// <summary>The code of some rows and a panel; see <see cref="PanelEmitter.Emit"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> GetPanel(int rows) => Get(ref s_panels[rows], rows, static key => PanelEmitter.Emit(key));

    /// <summary>The code of one row and some panels; see <see cref="PanelRowEmitter.Emit"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> GetPanelRow(int panels) =>
        Get(ref s_panelRows[panels], panels, static key => PanelRowEmitter.Emit(key));

    /// <summary>The code that makes weights of scores; see <see cref="SoftmaxEmitter.Emit"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> GetSoftmax(bool isScaled) =>
        Get(ref s_softmax[isScaled ? 1 : 0], isScaled, static key => SoftmaxEmitter.Emit(key));

    private static int Index(TileShape shape, int rowsAhead)
    {
        int kind = ((int)shape.Source * (TileShape.MostRows + 1)) + shape.Rows;
        return (((kind * (TileShape.MostOutputs + 1)) + shape.Outputs) * (TileShape.MostOutputs + 1)) + rowsAhead;
    }

    /// <summary>The code that stands in <paramref name="place"/>, made where none does yet.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> Get<TKey>(ref nint place, TKey key, Func<TKey, byte[]> emit)
    {
        nint code = Volatile.Read(ref place);
        if (code == 0)
        {
            code = Make(ref place, key, emit);
            if (code == 0)
            {
                throw new PrefixTorchException("The system gave no more memory for machine code. Set PREFIXTORCH_ISA=avx2 to run without it.");
            }
        }

        return (delegate* unmanaged[SuppressGCTransition]<TileArguments*, void>)code;
    }

    private static nint Make<TKey>(ref nint place, TKey key, Func<TKey, byte[]> emit)
    {
        lock (s_lock)
        {
            if (place == 0)
            {
                Volatile.Write(ref place, (nint)ExecutableMemory.Place(emit(key)));
            }

            return place;
        }
    }

    // Whether a first tile can be made.
    private static bool CanMake(TileSource source)
    {
        var first = new TileShape(source, 1, TileShape.MostOutputs);
        return Make(ref s_codes[Index(first, 0)], first, static shape => TileEmitter.Emit(shape, 0)) != 0;
    }
}

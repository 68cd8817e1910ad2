namespace PrefixTorch.Kernels.Tiles;

/// <summary>The tiles' code, made when first needed and kept.</summary>
/// <remarks>Safe to use from any thread.</remarks>
internal static unsafe class TileCode
{
    private static readonly Lock s_lock = new();
    private static readonly nint[] s_codes = new nint[3 * (TileEmitter.MaxRows + 1) * 5];

    private static readonly bool s_multipliesFloats = Cpu.HasBFloat16Arithmetic && Make(TileSource.BFloat16, 1, 4) != 0;
    private static readonly bool s_multipliesBytes = Cpu.HasByteArithmetic && Make(TileSource.Int8, 1, 4) != 0;

    /// <summary>Whether this machine multiplies weights of this kind, and lets a program make code.</summary>
    public static bool Supports(TileSource source) => source == TileSource.BFloat16 ? s_multipliesFloats : s_multipliesBytes;

    /// <summary>The code of a tile; see <see cref="TileEmitter.Emit"/>. A call takes about a microsecond, and needs no transition of the garbage collector.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> Get(TileSource source, int rows, int rowsAhead)
    {
        nint code = Volatile.Read(ref s_codes[Index(source, rows, rowsAhead)]);
        if (code == 0)
        {
            code = Make(source, rows, rowsAhead);
            if (code == 0)
            {
                throw new PrefixTorchException("The system gave no more memory for machine code. Set PREFIXTORCH_ISA=avx2 to run without it.");
            }
        }

        return (delegate* unmanaged[SuppressGCTransition]<TileArguments*, void>)code;
    }

    private static int Index(TileSource source, int rows, int rowsAhead) => ((((int)source * (TileEmitter.MaxRows + 1)) + rows) * 5) + rowsAhead;

    private static nint Make(TileSource source, int rows, int rowsAhead)
    {
        lock (s_lock)
        {
            ref nint code = ref s_codes[Index(source, rows, rowsAhead)];
            if (code == 0)
            {
                Volatile.Write(ref code, (nint)ExecutableMemory.Place(TileEmitter.Emit(source, rows, rowsAhead)));
            }

            return code;
        }
    }
}

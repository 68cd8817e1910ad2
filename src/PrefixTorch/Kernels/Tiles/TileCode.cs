namespace PrefixTorch.Kernels.Tiles;

/// <summary>The tiles' code, made when first needed and kept.</summary>
/// <remarks>Safe to use from any thread.</remarks>
internal static unsafe class TileCode
{
    private static readonly Lock s_lock = new();
    private static readonly nint[] s_codes = new nint[3 * (TileShape.MostRows + 1) * (TileShape.MostOutputs + 1) * (TileShape.MostOutputs + 1)];

    private static readonly bool s_multipliesFloats = Cpu.HasBFloat16Arithmetic && Make(new(TileSource.BFloat16, 1, TileShape.MostOutputs), 0) != 0;
    private static readonly bool s_multipliesBytes = Cpu.HasByteArithmetic && Make(new(TileSource.Int8, 1, TileShape.MostOutputs), 0) != 0;

    /// <summary>Whether this machine multiplies weights of this kind, and lets a program make code.</summary>
    public static bool Supports(TileSource source) => source == TileSource.BFloat16 ? s_multipliesFloats : s_multipliesBytes;

    /// <summary>The code of a tile; see <see cref="TileEmitter.Emit"/>. A call takes about a microsecond, and needs no transition of the garbage collector.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> Get(TileShape shape, int rowsAhead)
    {
        nint code = Volatile.Read(ref s_codes[Index(shape, rowsAhead)]);
        if (code == 0)
        {
            code = Make(shape, rowsAhead);
            if (code == 0)
            {
                throw new PrefixTorchException("The system gave no more memory for machine code. Set PREFIXTORCH_ISA=avx2 to run without it.");
            }
        }

        return (delegate* unmanaged[SuppressGCTransition]<TileArguments*, void>)code;
    }

    private static int Index(TileShape shape, int rowsAhead) =>
        (((((int)shape.Source * (TileShape.MostRows + 1)) + shape.Rows) * (TileShape.MostOutputs + 1)) + shape.Outputs) * (TileShape.MostOutputs + 1) + rowsAhead;

    private static nint Make(TileShape shape, int rowsAhead)
    {
        lock (s_lock)
        {
            ref nint code = ref s_codes[Index(shape, rowsAhead)];
            if (code == 0)
            {
                Volatile.Write(ref code, (nint)ExecutableMemory.Place(TileEmitter.Emit(shape, rowsAhead)));
            }

            return code;
        }
    }
}

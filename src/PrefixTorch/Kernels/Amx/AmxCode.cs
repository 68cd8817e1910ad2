using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Amx;

/// <summary>The code for AMX's tiles, made when first needed and kept.</summary>
/// <remarks>Safe to use from any thread; a thread's tiles are its own.</remarks>
internal static unsafe class AmxCode
{
    private static readonly nint[] s_products = new nint[4];
    private static readonly nint[] s_pairs = new nint[PairTileEmitter.MostRegisters + 1];
    private static readonly nint[] s_byteRows = new nint[AmxShape.MostRows + 1];
    private static nint s_bytes;
    private static nint s_widening;
    private static nint s_configure;
    private static nint s_release;

    /// <summary>See <see cref="AmxTileEmitter.EmitProduct"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> Product(int rows, int columns) =>
        TileCode.Get(ref s_products[((rows - 1) * 2) + columns - 1], (rows, columns), static key => AmxTileEmitter.EmitProduct(key.rows, key.columns));

    /// <summary>See <see cref="AmxTileEmitter.EmitPairs"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> Pairs(int registers) =>
        TileCode.Get(ref s_pairs[registers], registers, static key => AmxTileEmitter.EmitPairs(key));

    /// <summary>See <see cref="AmxByteEmitter.Emit"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> Bytes() => TileCode.Get(ref s_bytes, 0, static _ => AmxByteEmitter.Emit());

    /// <summary>See <see cref="ByteRowEmitter.Emit"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> ByteRow(int outputs) =>
        TileCode.Get(ref s_byteRows[outputs], outputs, static key => ByteRowEmitter.Emit(key));

    /// <summary>See <see cref="WideningEmitter.Emit"/>.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<TileArguments*, void> Widening() => TileCode.Get(ref s_widening, 0, static _ => WideningEmitter.Emit());

    /// <summary>Gives this thread's tiles their shapes, until <see cref="Release"/>.</summary>
    public static void Configure(AmxShape shape) => TileCode.Get(ref s_configure, 0, static _ => AmxTileEmitter.EmitConfigure())((TileArguments*)&shape);

    /// <summary>Lets go of this thread's tiles.</summary>
    public static void Release() => TileCode.Get(ref s_release, 0, static _ => AmxTileEmitter.EmitRelease())(null);
}

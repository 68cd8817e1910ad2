using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels;

/// <summary>
/// Asks for weights ahead of their use. Four rows of a matrix are read side by side, and the processor's own prefetching begins anew at every
/// row and page: with rows of a few kilobytes it is late for most of them.
/// </summary>
internal static unsafe class Streams
{
    private const int Line = 64;
    private const long LongRow = 4096;
    private const long WithinRow = 2048;

    /// <summary>How far ahead: the same place of the next four rows, or further along where rows are long.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Ahead(long pitch) => pitch <= LongRow ? 4 * pitch : WithinRow;

    /// <summary>At the first byte of each cache line, asks for the lines <paramref name="ahead"/> in all four rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* w0, byte* w1, byte* w2, byte* w3, long at, long ahead)
    {
        if (Sse.IsSupported && (at & (Line - 1)) == 0)
        {
            at += ahead;
            Sse.Prefetch0(w0 + at);
            Sse.Prefetch0(w1 + at);
            Sse.Prefetch0(w2 + at);
            Sse.Prefetch0(w3 + at);
        }
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels;

/// <summary>
/// Asks for weights ahead of their use. Three or four rows of a matrix are read side by side, and the processor's own prefetching begins anew at every
/// row and page: with rows of a few kilobytes it is late for most of them.
/// </summary>
/// <remarks>
/// Into the second level: the first has few slots for lines on their way, and asking there was no faster than not asking at all (one thread of a
/// Zen 4, int8: 11 GB/s, without any 10, into the second level 22).
/// </remarks>
internal static unsafe class Streams
{
    /// <summary>Bytes of a cache line.</summary>
    public const int Line = 64;

    /// <summary>
    /// How far ahead, in bytes, where sixteen rows are read side by side: into the first level, which on processors with AMX was a tenth faster than not asking,
    /// and asking for the second level slower.
    /// </summary>
    public const int AlongRows = 512;

    /// <summary>How far ahead, in bytes, where a matrix is read as one stream, row by row: what memory takes a while to bring.</summary>
    public const int AlongStream = 8192;

    private const long LongRow = 8192;
    private const long WithinRow = 4096;

    /// <summary>
    /// How far ahead: the same place of later rows, a multiple of four of them and some 8 KB on, which memory takes a while to bring; or further along where
    /// rows are long.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Ahead(long pitch) => pitch <= LongRow ? RowsAhead(pitch) : WithinRow;

    /// <summary>The same where rows are read in stretches, also of long ones: the same place of later rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long RowsAhead(long pitch) => Math.Max(1, AlongStream / (4 * pitch)) * 4 * pitch;

    /// <summary>The first cache line's begin at or behind <paramref name="memory"/>, which has one more line than is needed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Aligned(byte* memory) => (byte*)(((nint)memory + Line - 1) & -Line);

    /// <summary>Asks for one cache line.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* at)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch1(at);
        }
    }

    /// <summary>Asks for the scales of outputs <paramref name="first"/> … <paramref name="end"/> − 1, if they have any: they come from memory too, and are not met before their codes' end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void PrefetchScales(float* scales, int first, int end)
    {
        const int floats = Line / sizeof(float);
        for (int n = first / floats * floats; n < end && scales is not null; n += floats)
        {
            Prefetch((byte*)(scales + n));
        }
    }

    /// <summary>At the first byte of each cache line, asks for the lines <paramref name="ahead"/> in three rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* w0, byte* w1, byte* w2, long at, long ahead)
    {
        if (Sse.IsSupported && (at & (Line - 1)) == 0)
        {
            at += ahead;
            Sse.Prefetch1(w0 + at);
            Sse.Prefetch1(w1 + at);
            Sse.Prefetch1(w2 + at);
        }
    }

    /// <summary>The same in four rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* w0, byte* w1, byte* w2, byte* w3, long at, long ahead)
    {
        if (Sse.IsSupported && (at & (Line - 1)) == 0)
        {
            at += ahead;
            Sse.Prefetch1(w0 + at);
            Sse.Prefetch1(w1 + at);
            Sse.Prefetch1(w2 + at);
            Sse.Prefetch1(w3 + at);
        }
    }

    /// <summary>Asks for the block of codes <paramref name="ahead"/>: eight lines of int8.</summary>
    /// <remarks>Written out, because a loop costs six instructions a line, which in the kernels of few rows is a fifth of all.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void PrefetchBlock(byte* w, long ahead)
    {
        if (Sse.IsSupported)
        {
            byte* block = w + ahead;
            Sse.Prefetch1(block);
            Sse.Prefetch1(block + Line);
            Sse.Prefetch1(block + (2 * Line));
            Sse.Prefetch1(block + (3 * Line));
            Sse.Prefetch1(block + (4 * Line));
            Sse.Prefetch1(block + (5 * Line));
            Sse.Prefetch1(block + (6 * Line));
            Sse.Prefetch1(block + (7 * Line));
        }
    }

    /// <summary>Asks for a block of a panel: its eight lines of int4, and that of their scales.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void PrefetchPanelBlock(byte* block)
    {
        PrefetchBlock(block, 0);
        Prefetch(block + (8 * Line));
    }
}

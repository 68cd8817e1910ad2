using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels;

/// <summary>How vectors multiply codes with activations, both of which are bytes, and add up the products in integers: all give the same sums.</summary>
internal unsafe interface IByteProducts<TVector>
    where TVector : struct
{
    /// <summary>How activations stand that meet int8.</summary>
    static abstract CodedOrder Order { get; }

    /// <summary>What a lane's sum of int8's products begins with; <paramref name="lane"/> is that lane of the activations' block.</summary>
    static abstract TVector BeginInt8(byte* lane);

    /// <summary>A register of int8 codes as they are multiplied, in as many registers as <see cref="Order"/> takes.</summary>
    static abstract void UnpackInt8(TVector codes, out TVector first, out TVector second);

    /// <summary>Adds the products of a register's codes and of the activations that stand at <paramref name="values"/> to <paramref name="sum"/>.</summary>
    static abstract TVector DotInt8(TVector sum, TVector first, TVector second, byte* values);

    /// <summary>What a sum of int4's products begins with.</summary>
    static abstract TVector BeginInt4 { get; }

    /// <summary>A register of int4 codes: the lower and the upper four bits of each byte, as they are multiplied.</summary>
    static abstract void UnpackInt4(TVector codes, out TVector low, out TVector high);

    /// <summary>Adds the products of codes and of activations, a register each, to <paramref name="sum"/>, which holds those of a group.</summary>
    static abstract TVector DotInt4(TVector sum, TVector codes, TVector values);

    /// <summary>What a group's products come to, as floats, which hold it exactly: 16 times code times activation.</summary>
    static abstract TVector WholeInt4(TVector sum);

    /// <summary>
    /// The same, less zero point times the sum of activations, times the activations' scale, which stands at <paramref name="scale"/>; their correction and offset
    /// (<see cref="Panels.GroupRows"/>) stand <paramref name="scaleBytes"/> and twice as many behind it.
    /// </summary>
    static abstract TVector ScaleInt4(TVector corrected, byte* scale, long scaleBytes);
}

/// <summary>By sums of sixteen bits, for vectors of any width: these hold a group's eight products of int4; int8 is multiplied as words, since bytes of two signs would take more steps.</summary>
internal readonly unsafe struct WordProducts<TVectors, TVector> : IByteProducts<TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    // Two sixteen-bit lanes of what a step has parts that zero points count.
    private const int Parts = CodeFormat.ZeroParts * 0x10001;

    public static CodedOrder Order => CodedOrder.Words;

    public static TVector BeginInt4 => TVectors.Broadcast(0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector BeginInt8(byte* lane) => TVectors.Broadcast(0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void UnpackInt8(TVector codes, out TVector first, out TVector second) => (first, second) = (TVectors.LowBytes(codes), TVectors.HighBytes(codes));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector DotInt8(TVector sum, TVector first, TVector second, byte* values) =>
        TVectors.DotInt16(TVectors.DotInt16(sum, first, TVectors.Load((float*)values)), second, TVectors.Load((float*)(values + Streams.Line)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void UnpackInt4(TVector codes, out TVector low, out TVector high) => (low, high) = (TVectors.LowNibbles(codes), TVectors.HighNibbles(codes));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector DotInt4(TVector sum, TVector codes, TVector values) => TVectors.DotNibbles(sum, codes, values);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector WholeInt4(TVector sum) => TVectors.ToFloat(TVectors.DotInt16(TVectors.Broadcast(0), sum, TVectors.Broadcast(BitConverter.Int32BitsToSingle(Parts))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector ScaleInt4(TVector corrected, byte* scale, long scaleBytes) => TVectors.Multiply(corrected, TVectors.Broadcast(*(float*)scale));
}

/// <summary>
/// By <c>vpdpbusd</c> (AVX-VNNI): products of bytes, four neighbours added up to 32 bits. It takes unsigned codes: int8 gets 128 added, which <see cref="CodedRows"/> corrects, and int4 is the upper four
/// bits of a byte, 16 times a code.
/// </summary>
internal readonly unsafe struct VnniProducts : IByteProducts<Vector256<float>>
{
    public static CodedOrder Order => CodedOrder.Bytes;

    // Sums that are counted from here are floats without being converted.
    public static Vector256<float> BeginInt4 => Vector256.Create(WholeNumbers.Shift);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> BeginInt8(byte* lane) => Vector256.Load((float*)(lane + CodedRows.CorrectionsAt));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void UnpackInt8(Vector256<float> codes, out Vector256<float> first, out Vector256<float> second) =>
        first = second = (codes.AsByte() ^ Vector256.Create((byte)CodedRows.Int8Offset)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> DotInt8(Vector256<float> sum, Vector256<float> first, Vector256<float> second, byte* values) => Dot(sum, first, Vector256.Load((sbyte*)values));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void UnpackInt4(Vector256<float> codes, out Vector256<float> low, out Vector256<float> high)
    {
        var upper = Vector256.Create((byte)0xf0);
        low = ((codes.AsInt32() << 4).AsByte() & upper).AsSingle();
        high = (codes.AsByte() & upper).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> DotInt4(Vector256<float> sum, Vector256<float> codes, Vector256<float> values) => Dot(sum, codes, values.AsSByte());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> WholeInt4(Vector256<float> sum) => sum;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ScaleInt4(Vector256<float> corrected, byte* scale, long scaleBytes) =>
        Fma.MultiplyAdd(corrected, Vector256.Create(*(float*)scale), Vector256.Create(*(float*)(scale + (2 * scaleBytes))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Dot(Vector256<float> sum, Vector256<float> codes, Vector256<sbyte> values) =>
        AvxVnni.MultiplyWideningAndAdd(sum.AsInt32(), codes.AsByte(), values).AsSingle();
}

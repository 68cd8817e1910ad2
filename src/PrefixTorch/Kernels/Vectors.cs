using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels;

/// <summary>
/// The few vector operations that the kernels are written in, for one width. A kernel is generic over this, and the runtime compiles it
/// once for each width, with every call inlined.
/// </summary>
/// <typeparam name="TVector">The register: <c>Vector128/256/512&lt;float&gt;</c>.</typeparam>
internal unsafe interface IVectors<TVector>
    where TVector : struct
{
    /// <summary>Floats in a register.</summary>
    static abstract int Width { get; }

    static abstract TVector Broadcast(float value);

    static abstract TVector Load(float* from);

    /// <summary>Widens bf16: the value is the upper half of a float.</summary>
    static abstract TVector LoadBFloat16(ushort* from);

    /// <summary>Widens IEEE half precision, subnormals and infinities included.</summary>
    static abstract TVector LoadFloat16(ushort* from);

    /// <summary>Converts signed bytes.</summary>
    static abstract TVector LoadInt8(sbyte* from);

    /// <summary>Unpacks as many bytes as a register has floats: <c>code × scale + minimum</c> of the lower four bits of each.</summary>
    static abstract TVector LoadInt4Lower(byte* from, TVector scale, TVector minimum);

    /// <summary>The same of the upper four bits.</summary>
    static abstract TVector LoadInt4Upper(byte* from, TVector scale, TVector minimum);

    static abstract void Store(TVector value, float* to);

    /// <summary>Rounds to bf16, ties to even.</summary>
    static abstract void StoreBFloat16(TVector value, ushort* to);

    static abstract TVector Add(TVector a, TVector b);

    static abstract TVector Subtract(TVector a, TVector b);

    static abstract TVector Multiply(TVector a, TVector b);

    static abstract TVector Divide(TVector a, TVector b);

    static abstract TVector Max(TVector a, TVector b);

    /// <summary><c>a × b + c</c>, rounded once where the machine can.</summary>
    static abstract TVector MultiplyAdd(TVector a, TVector b, TVector c);

    static abstract TVector Exp(TVector value);

    /// <summary>Adds up the lanes, always in the same order.</summary>
    static abstract float Sum(TVector value);
}

/// <summary>512-bit registers.</summary>
internal unsafe struct Vectors512 : IVectors<Vector512<float>>
{
    public static int Width => 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Broadcast(float value) => Vector512.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(float* from) => Vector512.Load(from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadBFloat16(ushort* from) => (Avx512F.ConvertToVector512UInt32(Vector256.Load(from)) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadFloat16(ushort* from)
    {
        Vector512<uint> bits = Avx512F.ConvertToVector512UInt32(Vector256.Load(from));
        Vector512<uint> magnitude = (bits & Vector512.Create(0x7fffu)) << 13;
        Vector512<uint> scaled = (magnitude.AsSingle() * Vector512.Create(HalfBits.Rescale)).AsUInt32();
        Vector512<uint> special = Vector512.GreaterThan(magnitude.AsInt32(), Vector512.Create(HalfBits.LastFinite)).AsUInt32() & Vector512.Create(0x7f800000u);
        return (scaled | special | ((bits & Vector512.Create(0x8000u)) << 16)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadInt8(sbyte* from) => Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(Vector128.Load(from)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadInt4Lower(byte* from, Vector512<float> scale, Vector512<float> minimum) =>
        Avx512F.PermuteVar16x32(Int4Table(scale, minimum), Avx512F.ConvertToVector512Int32(Vector128.Load(from)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadInt4Upper(byte* from, Vector512<float> scale, Vector512<float> minimum) =>
        Avx512F.PermuteVar16x32(Int4Table(scale, minimum), Avx512F.ConvertToVector512Int32(Vector128.Load(from)) >>> 4);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512<float> value, float* to) => value.Store(to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vector512<float> value, ushort* to)
    {
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> rounded = (bits + Vector512.Create(0x7fffu) + ((bits >>> 16) & Vector512<uint>.One)) >>> 16;
        rounded = Vector512.ConditionalSelect(Vector512.Equals(value, value).AsUInt32(), rounded, Vector512.Create(0x7fc0u));
        Avx512F.ConvertToVector256UInt16(rounded).Store(to);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Add(Vector512<float> a, Vector512<float> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Subtract(Vector512<float> a, Vector512<float> b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Multiply(Vector512<float> a, Vector512<float> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Divide(Vector512<float> a, Vector512<float> b) => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Max(Vector512<float> a, Vector512<float> b) => Vector512.MaxNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyAdd(Vector512<float> a, Vector512<float> b, Vector512<float> c) => Avx512F.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp(Vector512<float> value) => Vector512.Exp(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector512<float> value) => Vectors256.Sum(value.GetLower() + value.GetUpper());

    // All sixteen values, to be looked up by the lowest four bits of each lane: no masking, no conversion.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Int4Table(Vector512<float> scale, Vector512<float> minimum) =>
        Avx512F.FusedMultiplyAdd(Vector512.Create(0f, 1f, 2f, 3f, 4f, 5f, 6f, 7f, 8f, 9f, 10f, 11f, 12f, 13f, 14f, 15f), scale, minimum);
}

/// <summary>256-bit registers with fused multiply-add.</summary>
internal unsafe struct Vectors256 : IVectors<Vector256<float>>
{
    public static int Width => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Broadcast(float value) => Vector256.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(float* from) => Vector256.Load(from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadBFloat16(ushort* from) => (Avx2.ConvertToVector256Int32(from) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadFloat16(ushort* from)
    {
        Vector256<uint> bits = Avx2.ConvertToVector256Int32(from).AsUInt32();
        Vector256<uint> magnitude = (bits & Vector256.Create(0x7fffu)) << 13;
        Vector256<uint> scaled = (magnitude.AsSingle() * Vector256.Create(HalfBits.Rescale)).AsUInt32();
        Vector256<uint> special = Vector256.GreaterThan(magnitude.AsInt32(), Vector256.Create(HalfBits.LastFinite)).AsUInt32() & Vector256.Create(0x7f800000u);
        return (scaled | special | ((bits & Vector256.Create(0x8000u)) << 16)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadInt8(sbyte* from) => Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(from));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadInt4Lower(byte* from, Vector256<float> scale, Vector256<float> minimum) =>
        Fma.MultiplyAdd(Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(from) & Vector256.Create(15)), scale, minimum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadInt4Upper(byte* from, Vector256<float> scale, Vector256<float> minimum) =>
        Fma.MultiplyAdd(Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(from) >>> 4), scale, minimum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<float> value, float* to) => value.Store(to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vector256<float> value, ushort* to)
    {
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> rounded = (bits + Vector256.Create(0x7fffu) + ((bits >>> 16) & Vector256<uint>.One)) >>> 16;
        rounded = Vector256.ConditionalSelect(Vector256.Equals(value, value).AsUInt32(), rounded, Vector256.Create(0x7fc0u));
        Vector128.Narrow(rounded.GetLower(), rounded.GetUpper()).Store(to);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Add(Vector256<float> a, Vector256<float> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Subtract(Vector256<float> a, Vector256<float> b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Multiply(Vector256<float> a, Vector256<float> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Divide(Vector256<float> a, Vector256<float> b) => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Max(Vector256<float> a, Vector256<float> b) => Vector256.MaxNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> MultiplyAdd(Vector256<float> a, Vector256<float> b, Vector256<float> c) => Fma.MultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp(Vector256<float> value) => Vector256.Exp(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector256<float> value) => Vectors128.Sum(value.GetLower() + value.GetUpper());
}

/// <summary>128-bit registers, on any machine.</summary>
internal unsafe struct Vectors128 : IVectors<Vector128<float>>
{
    public static int Width => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Broadcast(float value) => Vector128.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load(float* from) => Vector128.Load(from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadBFloat16(ushort* from) => (Vector128.WidenLower(Vector64.Load(from).ToVector128()) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFloat16(ushort* from)
    {
        Vector128<uint> bits = Vector128.WidenLower(Vector64.Load(from).ToVector128());
        Vector128<uint> magnitude = (bits & Vector128.Create(0x7fffu)) << 13;
        Vector128<uint> scaled = (magnitude.AsSingle() * Vector128.Create(HalfBits.Rescale)).AsUInt32();
        Vector128<uint> special = Vector128.GreaterThan(magnitude.AsInt32(), Vector128.Create(HalfBits.LastFinite)).AsUInt32() & Vector128.Create(0x7f800000u);
        return (scaled | special | ((bits & Vector128.Create(0x8000u)) << 16)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadInt8(sbyte* from) => Vector128.Create((float)from[0], from[1], from[2], from[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadInt4Lower(byte* from, Vector128<float> scale, Vector128<float> minimum) =>
        (Vector128.ConvertToSingle(Vector128.Create((int)from[0], from[1], from[2], from[3]) & Vector128.Create(15)) * scale) + minimum;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadInt4Upper(byte* from, Vector128<float> scale, Vector128<float> minimum) =>
        (Vector128.ConvertToSingle(Vector128.Create((int)from[0], from[1], from[2], from[3]) >>> 4) * scale) + minimum;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128<float> value, float* to) => value.Store(to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vector128<float> value, ushort* to)
    {
        Vector128<uint> bits = value.AsUInt32();
        Vector128<uint> rounded = (bits + Vector128.Create(0x7fffu) + ((bits >>> 16) & Vector128<uint>.One)) >>> 16;
        rounded = Vector128.ConditionalSelect(Vector128.Equals(value, value).AsUInt32(), rounded, Vector128.Create(0x7fc0u));
        Vector128.Narrow(rounded, rounded).GetLower().Store(to);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Add(Vector128<float> a, Vector128<float> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Subtract(Vector128<float> a, Vector128<float> b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Multiply(Vector128<float> a, Vector128<float> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Divide(Vector128<float> a, Vector128<float> b) => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Max(Vector128<float> a, Vector128<float> b) => Vector128.MaxNative(a, b);

    // Never fused, so that every machine gives the same bits on this path.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MultiplyAdd(Vector128<float> a, Vector128<float> b, Vector128<float> c) => (a * b) + c;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Exp(Vector128<float> value) => Vector128.Exp(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector128<float> value) => (value[0] + value[2]) + (value[1] + value[3]);
}

/// <summary>
/// The constants that widen half precision with integer operations: exponent and mantissa, moved into a float's place, are too small by
/// 2^112; and what lies above the largest finite value is infinite or not a number.
/// </summary>
internal static class HalfBits
{
    public const float Rescale = 5.192296858534828e+33f;
    public const int LastFinite = 0x7bff << 13;
}

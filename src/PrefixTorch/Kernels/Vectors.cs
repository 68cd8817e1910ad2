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

    /// <summary>Of each lane the lower half, as its upper one: bf16 widened.</summary>
    static abstract TVector LowHalves(TVector pairs);

    /// <summary>Of each lane the upper half where it is: bf16 widened.</summary>
    static abstract TVector HighHalves(TVector pairs);

    /// <summary>Widens IEEE half precision, subnormals and infinities included.</summary>
    static abstract TVector LoadFloat16(ushort* from);

    /// <summary>IEEE half precision in a float's places: 2^112 times too small, and what is infinite or not a number no greater than the next power of two would be.</summary>
    static abstract TVector LoadFloat16Scaled(ushort* from);

    /// <summary>Converts signed bytes.</summary>
    static abstract TVector LoadInt8(sbyte* from);

    /// <summary>Widens unsigned bytes to 32-bit integers.</summary>
    static abstract TVector LoadUInt8AsInt32(byte* from);

    /// <summary>The lower four bits of each byte.</summary>
    static abstract TVector LowNibbles(TVector bytes);

    /// <summary>The upper four bits of each byte, as its lower ones.</summary>
    static abstract TVector HighNibbles(TVector bytes);

    /// <summary>Of each sixteen-bit lane the lower byte, as its upper one: a signed byte times 256.</summary>
    static abstract TVector LowBytes(TVector bytes);

    /// <summary>Of each sixteen-bit lane the upper byte where it is: a signed byte times 256.</summary>
    static abstract TVector HighBytes(TVector bytes);

    /// <summary>
    /// Multiplies unsigned bytes of at most 15 with signed ones, adds neighbours, and adds the sums to <paramref name="sum"/>'s sixteen-bit lanes, which
    /// hold those of eight registers.
    /// </summary>
    static abstract TVector DotNibbles(TVector sum, TVector nibbles, TVector values);

    /// <summary>Multiplies sixteen-bit lanes, adds neighbours, and adds the sums to <paramref name="sum"/>'s 32-bit lanes.</summary>
    static abstract TVector DotInt16(TVector sum, TVector a, TVector b);

    /// <summary>32-bit integers to floats.</summary>
    static abstract TVector ToFloat(TVector integers);

    /// <summary>Rounds to integers, ties to even, and stores them as signed bytes; they must be such.</summary>
    static abstract void StoreInt8(TVector value, sbyte* to);

    static abstract void Store(TVector value, float* to);

    /// <summary>Rounds to bf16, ties to even.</summary>
    static abstract void StoreBFloat16(TVector value, ushort* to);

    static abstract TVector Add(TVector a, TVector b);

    static abstract TVector Subtract(TVector a, TVector b);

    static abstract TVector Multiply(TVector a, TVector b);

    static abstract TVector Divide(TVector a, TVector b);

    /// <summary>The greater; where a lane is not a number, <paramref name="b"/>'s.</summary>
    static abstract TVector Max(TVector a, TVector b);

    /// <summary>The smaller; where a lane is not a number, <paramref name="b"/>'s.</summary>
    static abstract TVector Min(TVector a, TVector b);

    /// <summary>Zero where <paramref name="a"/> is less than <paramref name="b"/>, elsewhere <paramref name="value"/>: also where a lane is not a number.</summary>
    static abstract TVector ZeroWhereLess(TVector a, TVector b, TVector value);

    /// <summary><c>a × b + c</c>, rounded once where the machine can.</summary>
    static abstract TVector MultiplyAdd(TVector a, TVector b, TVector c);

    /// <summary><c>value × 2^exponent</c> for whole exponents from −252 to 254.</summary>
    static abstract TVector TimesPowerOfTwo(TVector value, TVector exponent);

    /// <summary>A float's exponent from the lowest bits of each lane, its digits zero.</summary>
    static abstract TVector AsExponents(TVector bits);

    /// <summary>Adds up the lanes, always in the same order.</summary>
    static abstract float Sum(TVector value);

    /// <summary>The largest of the lanes, none of which is not a number.</summary>
    static abstract float Largest(TVector value);

    /// <summary>The four registers' sums, each bit for bit what <see cref="Sum"/> gives.</summary>
    static abstract Vector128<float> Sums(TVector a, TVector b, TVector c, TVector d);
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
    public static Vector512<float> LowHalves(Vector512<float> pairs) => (pairs.AsUInt32() << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> HighHalves(Vector512<float> pairs) => (pairs.AsUInt32() & Vector512.Create(0xffff0000u)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadFloat16(ushort* from)
    {
        Vector512<float> scaled = LoadFloat16Scaled(from);
        Vector512<uint> special = Vector512.Create(HalfBits.Special), isSpecial = Vector512.Equals(scaled.AsUInt32() & special, special);
        return ((scaled * Vector512.Create(HalfBits.Rescale)).AsUInt32() | (isSpecial & Vector512.Create(0x7f800000u))).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadFloat16Scaled(ushort* from) => ((Avx512F.ConvertToVector512Int32(Vector256.Load((short*)from)) << 13).AsUInt32() & Vector512.Create(HalfBits.InPlace)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadInt8(sbyte* from) => Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(Vector128.Load(from)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadUInt8AsInt32(byte* from) => Avx512F.ConvertToVector512Int32(Vector128.Load(from)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LowNibbles(Vector512<float> bytes) => (bytes.AsByte() & Vector512.Create((byte)15)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> HighNibbles(Vector512<float> bytes) => ((bytes.AsUInt16() >>> 4).AsByte() & Vector512.Create((byte)15)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LowBytes(Vector512<float> bytes) => (bytes.AsInt16() << 8).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> HighBytes(Vector512<float> bytes) => (bytes.AsUInt16() & Vector512.Create((ushort)0xff00)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> DotNibbles(Vector512<float> sum, Vector512<float> nibbles, Vector512<float> values) =>
        (sum.AsInt16() + Avx512BW.MultiplyAddAdjacent(nibbles.AsByte(), values.AsSByte())).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> DotInt16(Vector512<float> sum, Vector512<float> a, Vector512<float> b) =>
        (sum.AsInt32() + Avx512BW.MultiplyAddAdjacent(a.AsInt16(), b.AsInt16())).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ToFloat(Vector512<float> integers) => Avx512F.ConvertToVector512Single(integers.AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInt8(Vector512<float> value, sbyte* to) => Avx512F.ConvertToVector128SByte(Avx512F.ConvertToVector512Int32(value)).Store(to);

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
    public static Vector512<float> Min(Vector512<float> a, Vector512<float> b) => Vector512.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ZeroWhereLess(Vector512<float> a, Vector512<float> b, Vector512<float> value) => Vector512.AndNot(value, Vector512.LessThan(a, b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyAdd(Vector512<float> a, Vector512<float> b, Vector512<float> c) => Avx512F.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> TimesPowerOfTwo(Vector512<float> value, Vector512<float> exponent) => Avx512F.Scale(value, exponent);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> AsExponents(Vector512<float> bits) => (bits.AsUInt32() << 23).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector512<float> value) => Vectors256.Sum(value.GetLower() + value.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Vector512<float> value) => Vectors256.Largest(Vector256.MaxNative(value.GetLower(), value.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sums(Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d) =>
        Vectors256.Sums(a.GetLower() + a.GetUpper(), b.GetLower() + b.GetUpper(), c.GetLower() + c.GetUpper(), d.GetLower() + d.GetUpper());
}

/// <summary>256-bit registers with fused multiply-add.</summary>
internal unsafe struct Vectors256 : IVectors<Vector256<float>>
{
    public static int Width => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Broadcast(float value) => Vector256.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(float* from) => Vector256.Load(from);

    // A shuffle puts each number where a float has its upper half, and zeros before it: one step, where widening and shifting are two (of two cycles each on a Zen 1).
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadBFloat16(ushort* from)
    {
        const byte none = 0x80;
        var places = Vector256.Create(
            none, none, 0, 1, none, none, 2, 3, none, none, 4, 5, none, none, 6, 7,
            none, none, 8, 9, none, none, 10, 11, none, none, 12, 13, none, none, 14, 15);
        return Avx2.Shuffle(Avx2.BroadcastVector128ToVector256((byte*)from), places).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LowHalves(Vector256<float> pairs) => (pairs.AsUInt32() << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> HighHalves(Vector256<float> pairs) => (pairs.AsUInt32() & Vector256.Create(0xffff0000u)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadFloat16(ushort* from)
    {
        Vector256<float> scaled = LoadFloat16Scaled(from);
        Vector256<uint> special = Vector256.Create(HalfBits.Special), isSpecial = Vector256.Equals(scaled.AsUInt32() & special, special);
        return ((scaled * Vector256.Create(HalfBits.Rescale)).AsUInt32() | (isSpecial & Vector256.Create(0x7f800000u))).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadFloat16Scaled(ushort* from) => ((Avx2.ConvertToVector256Int32((short*)from) << 13).AsUInt32() & Vector256.Create(HalfBits.InPlace)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadInt8(sbyte* from) => Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(from));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadUInt8AsInt32(byte* from) => Avx2.ConvertToVector256Int32(from).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LowNibbles(Vector256<float> bytes) => (bytes.AsByte() & Vector256.Create((byte)15)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> HighNibbles(Vector256<float> bytes) => ((bytes.AsUInt16() >>> 4).AsByte() & Vector256.Create((byte)15)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LowBytes(Vector256<float> bytes) => (bytes.AsInt16() << 8).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> HighBytes(Vector256<float> bytes) => (bytes.AsUInt16() & Vector256.Create((ushort)0xff00)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> DotNibbles(Vector256<float> sum, Vector256<float> nibbles, Vector256<float> values) =>
        (sum.AsInt16() + Avx2.MultiplyAddAdjacent(nibbles.AsByte(), values.AsSByte())).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> DotInt16(Vector256<float> sum, Vector256<float> a, Vector256<float> b) =>
        (sum.AsInt32() + Avx2.MultiplyAddAdjacent(a.AsInt16(), b.AsInt16())).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ToFloat(Vector256<float> integers) => Avx.ConvertToVector256Single(integers.AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInt8(Vector256<float> value, sbyte* to)
    {
        Vector256<int> integers = Avx.ConvertToVector256Int32(value);
        Vector128<short> narrow = Vector128.Narrow(integers.GetLower(), integers.GetUpper());
        Vector128.Narrow(narrow, narrow).GetLower().Store(to);
    }

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
    public static Vector256<float> Min(Vector256<float> a, Vector256<float> b) => Vector256.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ZeroWhereLess(Vector256<float> a, Vector256<float> b, Vector256<float> value) => Vector256.AndNot(value, Vector256.LessThan(a, b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> MultiplyAdd(Vector256<float> a, Vector256<float> b, Vector256<float> c) => Fma.MultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> TimesPowerOfTwo(Vector256<float> value, Vector256<float> exponent)
    {
        // In two steps, because neither the power nor what it is multiplied with need be an ordinary number at the end.
        Vector256<int> whole = Vector256.ConvertToInt32Native(exponent), half = whole >> 1, bias = Vector256.Create(127);
        return value * ((half + bias) << 23).AsSingle() * ((whole - half + bias) << 23).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> AsExponents(Vector256<float> bits) => (bits.AsUInt32() << 23).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector256<float> value) => Vectors128.Sum(value.GetLower() + value.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Vector256<float> value) => Vectors128.Largest(Vector128.MaxNative(value.GetLower(), value.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sums(Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d) =>
        Vectors128.Sums(a.GetLower() + a.GetUpper(), b.GetLower() + b.GetUpper(), c.GetLower() + c.GetUpper(), d.GetLower() + d.GetUpper());
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
    public static Vector128<float> LowHalves(Vector128<float> pairs) => (pairs.AsUInt32() << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> HighHalves(Vector128<float> pairs) => (pairs.AsUInt32() & Vector128.Create(0xffff0000u)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFloat16(ushort* from) => HalfBits.Widen(Vector128.WidenLower(Vector64.Load(from).ToVector128()) << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFloat16Scaled(ushort* from) =>
        ((Vector128.WidenLower(Vector64.Load((short*)from).ToVector128()) << 13).AsUInt32() & Vector128.Create(HalfBits.InPlace)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadInt8(sbyte* from) =>
        Vector128.ConvertToSingle(Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalar(*(int*)from).AsSByte())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadUInt8AsInt32(byte* from) => Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalar(*(int*)from).AsByte())).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LowNibbles(Vector128<float> bytes) => (bytes.AsByte() & Vector128.Create((byte)15)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> HighNibbles(Vector128<float> bytes) => ((bytes.AsUInt16() >>> 4).AsByte() & Vector128.Create((byte)15)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LowBytes(Vector128<float> bytes) => (bytes.AsInt16() << 8).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> HighBytes(Vector128<float> bytes) => (bytes.AsUInt16() & Vector128.Create((ushort)0xff00)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> DotNibbles(Vector128<float> sum, Vector128<float> nibbles, Vector128<float> values)
    {
        // Even and odd bytes widened in place; nibbles have no sign.
        Vector128<short> left = nibbles.AsInt16(), right = values.AsInt16();
        return (sum.AsInt16() + ((left & Vector128.Create((short)15)) * ((right << 8) >> 8)) + ((left >> 8) * (right >> 8))).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> DotInt16(Vector128<float> sum, Vector128<float> a, Vector128<float> b)
    {
        // Even and odd lanes widened in place: the lower half by two shifts, the upper half by one.
        Vector128<int> left = a.AsInt32(), right = b.AsInt32();
        return (sum.AsInt32() + (((left << 16) >> 16) * ((right << 16) >> 16)) + ((left >> 16) * (right >> 16))).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ToFloat(Vector128<float> integers) => Vector128.ConvertToSingle(integers.AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInt8(Vector128<float> value, sbyte* to)
    {
        for (int i = 0; i < Width; i++)
        {
            to[i] = (sbyte)MathF.Round(value[i]);
        }
    }

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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Min(Vector128<float> a, Vector128<float> b) => Vector128.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ZeroWhereLess(Vector128<float> a, Vector128<float> b, Vector128<float> value) => Vector128.AndNot(value, Vector128.LessThan(a, b));

    // Never fused, so that every machine gives the same bits on this path.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MultiplyAdd(Vector128<float> a, Vector128<float> b, Vector128<float> c) => (a * b) + c;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> TimesPowerOfTwo(Vector128<float> value, Vector128<float> exponent)
    {
        // In two steps, because neither the power nor what it is multiplied with need be an ordinary number at the end.
        Vector128<int> whole = Vector128.ConvertToInt32Native(exponent), half = whole >> 1, bias = Vector128.Create(127);
        return value * ((half + bias) << 23).AsSingle() * ((whole - half + bias) << 23).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> AsExponents(Vector128<float> bits) => (bits.AsUInt32() << 23).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector128<float> value) => (value[0] + value[2]) + (value[1] + value[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Vector128<float> value)
    {
        Vector128<float> pairs = Vector128.MaxNative(value, Vector128.Shuffle(value, Vector128.Create(2, 3, 0, 1)));
        return Vector128.MaxNative(pairs, Vector128.Shuffle(pairs, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sums(Vector128<float> a, Vector128<float> b, Vector128<float> c, Vector128<float> d)
    {
        if (!Sse.IsSupported)
        {
            return Vector128.Create(Sum(a), Sum(b), Sum(c), Sum(d));
        }

        // Lanes 0 and 2, and 1 and 3, of two registers at a time; then both halves.
        Vector128<float> ab = Sse.UnpackLow(a, b) + Sse.UnpackHigh(a, b), cd = Sse.UnpackLow(c, d) + Sse.UnpackHigh(c, d);
        return Sse.MoveLowToHigh(ab, cd) + Sse.MoveHighToLow(cd, ab);
    }

    /// <summary>Turns a square: lane <c>i</c> of register <c>j</c> becomes lane <c>j</c> of register <c>i</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Transpose(ref Vector128<float> a, ref Vector128<float> b, ref Vector128<float> c, ref Vector128<float> d)
    {
        if (!Sse.IsSupported)
        {
            (a, b, c, d) = (Vector128.Create(a[0], b[0], c[0], d[0]), Vector128.Create(a[1], b[1], c[1], d[1]), Vector128.Create(a[2], b[2], c[2], d[2]), Vector128.Create(a[3], b[3], c[3], d[3]));
            return;
        }

        Vector128<float> ab = Sse.UnpackLow(a, b), cd = Sse.UnpackLow(c, d), abHigh = Sse.UnpackHigh(a, b), cdHigh = Sse.UnpackHigh(c, d);
        a = Sse.MoveLowToHigh(ab, cd);
        b = Sse.MoveHighToLow(cd, ab);
        c = Sse.MoveLowToHigh(abHigh, cdHigh);
        d = Sse.MoveHighToLow(cdHigh, abHigh);
    }
}

/// <summary>Rounding by an addition.</summary>
internal static class WholeNumbers
{
    /// <summary>What lies between 2²³ and 2²⁴ is whole: adding this and taking it away again rounds to the nearest, ties to even.</summary>
    public const float Shift = 1.5f * (1 << 23);
}

/// <summary>
/// The constants that widen half precision with integer operations: exponent and mantissa, moved into a float's place, are too small by
/// 2^112; and what lies above the largest finite value is infinite or not a number.
/// </summary>
internal static class HalfBits
{
    public const float Rescale = 5.192296858534828e+33f;

    /// <summary>A half's sign, exponent and mantissa where a float has them.</summary>
    public const uint InPlace = 0x8fffe000;

    /// <summary>The exponent there of what is infinite or not a number.</summary>
    public const uint Special = 0x0f800000;

    /// <summary>Widens what lies in the upper half of each lane, whatever the lower half holds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Widen(Vector128<uint> upper)
    {
        Vector128<uint> scaled = (upper.AsInt32() >> 3).AsUInt32() & Vector128.Create(InPlace), special = Vector128.Create(Special);
        return ((scaled.AsSingle() * Vector128.Create(Rescale)).AsUInt32() | (Vector128.Equals(scaled & special, special) & Vector128.Create(0x7f800000u))).AsSingle();
    }
}

using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels;

/// <summary>How numbers are stored in memory: the kernels compute in fp32 and are generic over what they read and write.</summary>
internal unsafe interface IElement
{
    /// <summary>Bytes per element.</summary>
    static abstract int Size { get; }

    static abstract TVector Load<TVectors, TVector>(byte* from)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary>Whether <see cref="Load{TVectors, TVector}(byte*)"/> takes so little that users widen a number again rather than store it widened.</summary>
    static abstract bool IsQuicklyWidened { get; }

    static abstract void Store<TVectors, TVector>(TVector value, byte* to)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct;

    /// <summary>Widens element <paramref name="index"/> of the few that each 32-bit lane holds.</summary>
    static abstract Vector128<float> Unpack(Vector128<float> packed, [ConstantExpected] int index);

    static abstract float Load(byte* from);

    static abstract void Store(float value, byte* to);
}

/// <summary>32-bit floats.</summary>
internal unsafe struct Float32Element : IElement
{
    public static int Size => 4;

    public static bool IsQuicklyWidened => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* from)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.Load((float*)from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TVectors, TVector>(TVector value, byte* to)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.Store(value, (float*)to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Unpack(Vector128<float> packed, [ConstantExpected] int index) => packed;

    public static float Load(byte* from) => *(float*)from;

    public static void Store(float value, byte* to) => *(float*)to = value;
}

/// <summary>bf16.</summary>
internal unsafe struct BFloat16Element : IElement
{
    public static int Size => 2;

    public static bool IsQuicklyWidened => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* from)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.LoadBFloat16((ushort*)from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TVectors, TVector>(TVector value, byte* to)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.StoreBFloat16(value, (ushort*)to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Unpack(Vector128<float> packed, [ConstantExpected] int index) => index == 0 ? Vectors128.LowHalves(packed) : Vectors128.HighHalves(packed);

    public static float Load(byte* from) => BitConverter.UInt32BitsToSingle((uint)*(ushort*)from << 16);

    public static void Store(float value, byte* to)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        *(ushort*)to = float.IsNaN(value) ? (ushort)0x7fc0 : (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}

/// <summary>IEEE half precision.</summary>
internal unsafe struct Float16Element : IElement
{
    public static int Size => 2;

    public static bool IsQuicklyWidened => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* from)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.LoadFloat16((ushort*)from);

    public static void Store<TVectors, TVector>(TVector value, byte* to)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        float* lanes = stackalloc float[TVectors.Width];
        TVectors.Store(value, lanes);
        for (int i = 0; i < TVectors.Width; i++)
        {
            ((Half*)to)[i] = (Half)lanes[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Unpack(Vector128<float> packed, [ConstantExpected] int index) => HalfBits.Widen(index == 0 ? packed.AsUInt32() << 16 : packed.AsUInt32());

    public static float Load(byte* from) => (float)*(Half*)from;

    public static void Store(float value, byte* to) => *(Half*)to = (Half)value;
}

/// <summary>IEEE half precision as products read weights: in fewer steps, for which a weight that is not a number becomes infinite.</summary>
internal unsafe struct Float16Weight : IElement
{
    public static int Size => Float16Element.Size;

    public static bool IsQuicklyWidened => Float16Element.IsQuicklyWidened;

    // Up by 2^224, where floats end where halves do, and down by 2^112.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* from)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        TVector up = TVectors.Broadcast(HalfBits.Rescale), scaled = TVectors.LoadFloat16Scaled((ushort*)from);
        return TVectors.Multiply(TVectors.Multiply(TVectors.Multiply(scaled, up), up), TVectors.Broadcast(1 / HalfBits.Rescale));
    }

    public static void Store<TVectors, TVector>(TVector value, byte* to)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => Float16Element.Store<TVectors, TVector>(value, to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Unpack(Vector128<float> packed, [ConstantExpected] int index) => Float16Element.Unpack(packed, index);

    public static float Load(byte* from) => Float16Element.Load(from);

    public static void Store(float value, byte* to) => Float16Element.Store(value, to);
}

/// <summary>8-bit integers; what they are multiplied with is kept apart, a scale for each row.</summary>
internal unsafe struct Int8Element : IElement
{
    public static int Size => 1;

    public static bool IsQuicklyWidened => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TVectors, TVector>(byte* from)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.LoadInt8((sbyte*)from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TVectors, TVector>(TVector value, byte* to)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct => TVectors.StoreInt8(value, (sbyte*)to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Unpack(Vector128<float> packed, [ConstantExpected] int index) => Vector128.ConvertToSingle((packed.AsInt32() << (24 - 8 * index)) >> 24);

    public static float Load(byte* from) => *(sbyte*)from;

    public static void Store(float value, byte* to) => *(sbyte*)to = (sbyte)MathF.Round(value);
}

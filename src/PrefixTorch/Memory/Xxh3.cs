using System.IO.Hashing;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Memory;

/// <summary>XXH3 of 64 bits and no seed, over bytes that come in pieces; belongs to one thread.</summary>
/// <remarks>
/// The same numbers as <see cref="XxHash3"/>, which keeps the short inputs, for they have algorithms of their own. That class comes from its package
/// as code to be compiled, and runs unoptimized until it has been called some thirty times: a process that restores one state would read all of it at
/// a tenth of the speed. This is compiled once, at its best.
/// The algorithm: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md. Stripes of 64 bytes go into eight sums; 16 of them are a block, after which the sums are scrambled.
/// </remarks>
internal sealed unsafe class Xxh3
{
    private const int Stripe = 64;
    private const int Block = 16 * Stripe;
    private const int LongestShort = 240;

    // Where the secret is read: by the scrambling, by the last stripe, by the end.
    private const int ScrambleSecret = 192 - Stripe, LastSecret = ScrambleSecret - 7, EndSecret = 11;
    private const ulong Prime1 = 0x9E3779B185EBCA87;
    private const uint Prime32 = 0x9E3779B1;

    // The end of what was taken into the sums, then what was not yet: the last stripe of all may lie across.
    private readonly byte[] _kept = new byte[Stripe + Block];
    private readonly ulong[] _sums = new ulong[8];
    private int _waiting;
    private long _length;

    /// <summary>A hash of nothing yet.</summary>
    public Xxh3() => Reset();

    private static ReadOnlySpan<byte> Secret =>
    [
        0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
        0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
        0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
        0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
        0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
        0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
    ];

    /// <summary>The hash of bytes that lie in one place.</summary>
    public static ulong Of(byte* bytes, long count)
    {
        var hash = new Xxh3();
        hash.Append(bytes, count);
        return hash.Value;
    }

    /// <summary>Begins anew.</summary>
    public void Reset()
    {
        ReadOnlySpan<ulong> start = [0xC2B2AE3D, Prime1, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x85EBCA77, 0x27D4EB2F165667C5, Prime32];
        start.CopyTo(_sums);
        _waiting = 0;
        _length = 0;
    }

    /// <summary>Takes bytes.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            Append(start, bytes.Length);
        }
    }

    /// <summary>Takes bytes.</summary>
    public void Append(byte* bytes, long count)
    {
        _length += count;
        fixed (byte* kept = _kept)
        fixed (ulong* sums = _sums)
        {
            // A block goes in only when something follows it, for the last stripe is treated otherwise.
            if (_waiting > 0 && _waiting + count > Block)
            {
                int missing = Block - _waiting;
                Copy(bytes, kept + Stripe + _waiting, missing);
                Take(kept + Stripe, 1, 0, sums);
                Copy(kept + Block, kept, Stripe);
                bytes += missing;
                count -= missing;
                _waiting = 0;
            }

            if (count > Block)
            {
                long whole = (count - 1) / Block;
                Take(bytes, whole, 0, sums);
                bytes += whole * Block;
                count -= whole * Block;
                Copy(bytes - Stripe, kept, Stripe);
            }

            Copy(bytes, kept + Stripe + _waiting, count);
            _waiting += (int)count;
        }
    }

    /// <summary>The hash of the bytes so far; more may follow.</summary>
    public ulong Value
    {
        get
        {
            if (_length <= LongestShort)
            {
                return XxHash3.HashToUInt64(_kept.AsSpan(Stripe, _waiting));
            }

            ulong* sums = stackalloc ulong[8];
            _sums.CopyTo(new Span<ulong>(sums, 8));
            fixed (byte* kept = _kept)
            {
                Take(kept + Stripe, 0, (_waiting - 1) / Stripe, sums);
                AddStripe(kept + _waiting, LastSecret, sums);
            }

            ulong hash = (ulong)_length * Prime1;
            byte* secret = SecretPointer + EndSecret;
            for (int i = 0; i < 4; i++)
            {
                ulong high = Math.BigMul(sums[2 * i] ^ ((ulong*)secret)[2 * i], sums[2 * i + 1] ^ ((ulong*)secret)[2 * i + 1], out ulong low);
                hash += high ^ low;
            }

            hash = (hash ^ (hash >> 37)) * 0x165667919E3779F9;
            return hash ^ (hash >> 32);
        }
    }

    // The secret lies in the assembly's image, which does not move.
    private static byte* SecretPointer => (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Secret));

    private static void Copy(byte* from, byte* to, long count) => Buffer.MemoryCopy(from, to, count, count);

    // Whole blocks, each scrambled at its end, and further stripes.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Take(byte* bytes, long blocks, int stripes, ulong* sums)
    {
        byte* secret = SecretPointer;
        Vector256<ulong> low = Vector256.Load(sums), high = Vector256.Load(sums + 4);
        Vector256<ulong> scrambleLow = Vector256.Load((ulong*)(secret + ScrambleSecret)), scrambleHigh = Vector256.Load((ulong*)(secret + ScrambleSecret) + 4);
        for (; blocks > 0; blocks--)
        {
            for (int i = 0; i < 16; i++, bytes += Stripe)
            {
                low = Add(low, (ulong*)bytes, (ulong*)(secret + 8 * i));
                high = Add(high, (ulong*)bytes + 4, (ulong*)(secret + 8 * i) + 4);
            }

            low = Scramble(low, scrambleLow);
            high = Scramble(high, scrambleHigh);
        }

        for (int i = 0; i < stripes; i++, bytes += Stripe)
        {
            low = Add(low, (ulong*)bytes, (ulong*)(secret + 8 * i));
            high = Add(high, (ulong*)bytes + 4, (ulong*)(secret + 8 * i) + 4);
        }

        low.Store(sums);
        high.Store(sums + 4);
    }

    private static void AddStripe(byte* bytes, int secret, ulong* sums)
    {
        Add(Vector256.Load(sums), (ulong*)bytes, (ulong*)(SecretPointer + secret)).Store(sums);
        Add(Vector256.Load(sums + 4), (ulong*)bytes + 4, (ulong*)(SecretPointer + secret) + 4).Store(sums + 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Add(Vector256<ulong> sum, ulong* bytes, ulong* secret)
    {
        Vector256<ulong> value = Vector256.Load(bytes), mixed = value ^ Vector256.Load(secret);
        return sum + Vector256.Shuffle(value, Vector256.Create(1ul, 0, 3, 2)) + MultiplyLowHalves(mixed, mixed >>> 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Scramble(Vector256<ulong> sum, Vector256<ulong> secret)
    {
        Vector256<ulong> mixed = sum ^ (sum >>> 47) ^ secret, prime = Vector256.Create((ulong)Prime32);
        return MultiplyLowHalves(mixed, prime) + (MultiplyLowHalves(mixed >>> 32, prime) << 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> MultiplyLowHalves(Vector256<ulong> a, Vector256<ulong> b) => Avx2.IsSupported
        ? Avx2.Multiply(a.AsUInt32(), b.AsUInt32())
        : (a & Vector256.Create((ulong)uint.MaxValue)) * (b & Vector256.Create((ulong)uint.MaxValue));
}

using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>Widens 8-bit floats to BF16, which holds every one of their values exactly.</summary>
internal static unsafe class Float8
{
    private static readonly ushort[] s_e4m3 = Table(DecodeE4M3);
    private static readonly ushort[] s_e5m2 = Table(DecodeE5M2);

    /// <summary>The value of one code of <see cref="DType.Float8E4M3"/> or <see cref="DType.Float8E5M2"/>.</summary>
    public static float Decode(DType type, byte code) => BFloat16ToSingle(TableOf(type)[code]);

    /// <summary>Widens elements one by one; exact.</summary>
    /// <param name="type">E4M3 or E5M2.</param>
    /// <param name="source"><paramref name="count"/> codes.</param>
    /// <param name="destination">Room for as many BF16 elements. May not overlap the source.</param>
    /// <param name="count">The number of elements.</param>
    public static void Widen(DType type, byte* source, ushort* destination, long count)
    {
        fixed (ushort* table = TableOf(type))
        {
            LookUp(table, source, destination, count);
        }
    }

    /// <summary>Widens a matrix and multiplies it by its scale, in fp32, rounded once to BF16.</summary>
    /// <param name="type">E4M3 or E5M2.</param>
    /// <param name="source"><c>[rows, columns]</c> codes.</param>
    /// <param name="destination"><c>[rows, columns]</c> BF16. May not overlap the source.</param>
    /// <param name="rows">Output channels.</param>
    /// <param name="columns">Input channels.</param>
    /// <param name="scale">What each element is multiplied by.</param>
    public static void Widen(DType type, byte* source, ushort* destination, long rows, long columns, Float8Scale scale)
    {
        // Within a block all share a factor: 256 products serve all of its elements.
        var products = new ushort[256];
        fixed (ushort* table = products)
        {
            for (long row = 0; row < rows; row += scale.BlockRows)
            {
                for (long column = 0; column < columns; column += scale.BlockColumns)
                {
                    float factor = scale.At(row, column);
                    for (int code = 0; code < products.Length; code++)
                    {
                        table[code] = SingleToBFloat16(Decode(type, (byte)code) * factor);
                    }

                    long rowEnd = Math.Min(row + scale.BlockRows, rows);
                    long columnEnd = Math.Min(column + scale.BlockColumns, columns);
                    for (long r = row; r < rowEnd; r++)
                    {
                        LookUp(table, source + (r * columns) + column, destination + (r * columns) + column, columnEnd - column);
                    }
                }
            }
        }
    }

    /// <summary>Rounds to the nearest BF16, ties to even; a NaN stays one.</summary>
    public static ushort SingleToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)((bits >> 16) | 0x40) : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>Widens one BF16.</summary>
    public static float BFloat16ToSingle(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);

    private static void LookUp(ushort* table, byte* source, ushort* destination, long count)
    {
        for (long i = 0; i < count; i++)
        {
            destination[i] = table[source[i]];
        }
    }

    private static ushort[] TableOf(DType type) => type switch
    {
        DType.Float8E4M3 => s_e4m3,
        DType.Float8E5M2 => s_e5m2,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Only 8-bit floats are widened."),
    };

    private static ushort[] Table(Func<byte, float> decode)
    {
        var table = new ushort[256];
        for (int code = 0; code < table.Length; code++)
        {
            table[code] = SingleToBFloat16(decode((byte)code));
        }

        return table;
    }

    // Sign, 4 exponent bits with bias 7, 3 mantissa bits. No infinity; all ones is NaN.
    private static float DecodeE4M3(byte code) => (code & 0x7F) == 0x7F ? float.NaN : Decode(code, mantissaBits: 3, bias: 7);

    // Sign, 5 exponent bits with bias 15, 2 mantissa bits; infinities and NaN as in IEEE 754.
    private static float DecodeE5M2(byte code) => (code & 0x7F) switch
    {
        > 0x7C => float.NaN,
        0x7C => code < 0x80 ? float.PositiveInfinity : float.NegativeInfinity,
        _ => Decode(code, mantissaBits: 2, bias: 15),
    };

    private static float Decode(byte code, int mantissaBits, int bias)
    {
        int exponent = (code & 0x7F) >> mantissaBits;
        int mantissa = code & ((1 << mantissaBits) - 1);
        float magnitude = exponent == 0
            ? MathF.ScaleB(mantissa, 1 - bias - mantissaBits)
            : MathF.ScaleB((1 << mantissaBits) + mantissa, exponent - bias - mantissaBits);
        return code < 0x80 ? magnitude : -magnitude;
    }
}

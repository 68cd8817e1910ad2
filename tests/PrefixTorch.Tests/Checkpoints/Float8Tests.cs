using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Checkpoints;

public sealed unsafe class Float8Tests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void All256CodesOfE4M3AreExact() => AllCodesAreExact(DType.Float8E4M3, code =>
    {
        (int exponent, int mantissa) = ((code >> 3) & 15, code & 7);
        double magnitude = (exponent, mantissa) switch
        {
            (15, 7) => double.NaN,
            (0, _) => mantissa * Math.Pow(2, -9),
            _ => (1 + (mantissa / 8.0)) * Math.Pow(2, exponent - 7),
        };
        return code < 128 ? magnitude : -magnitude;
    });

    [Fact]
    public void All256CodesOfE5M2AreTheUpperByteOfAHalf() =>
        AllCodesAreExact(DType.Float8E5M2, code => (double)BitConverter.UInt16BitsToHalf((ushort)(code << 8)));

    [Fact]
    public void TheLargestAndSmallestNumbersAreThePublishedOnes()
    {
        Assert.Equal(448, Float8.Decode(DType.Float8E4M3, 0x7E));
        Assert.Equal(MathF.Pow(2, -9), Float8.Decode(DType.Float8E4M3, 0x01));
        Assert.Equal(57_344, Float8.Decode(DType.Float8E5M2, 0x7B));
        Assert.Equal(MathF.Pow(2, -16), Float8.Decode(DType.Float8E5M2, 0x01));
        Assert.True(float.IsNegative(Float8.Decode(DType.Float8E4M3, 0x80)));
    }

    [Theory]
    [InlineData("_scale", "[]", 1)]
    [InlineData("_scale", "[1]", 1)]
    [InlineData("_scale_inv", "[1,1]", 1)]
    [InlineData("_scale", "[5,1]", 5)]
    [InlineData("_scale", "[5]", 5)]
    [InlineData("_scale_inv", "[3,2]", 6)]
    public void EveryPublishedLayoutOfScalesMultiplies(string suffix, string shape, int count)
    {
        // A weight [5, 3] in blocks of 2 × 2, the last of them narrower.
        const int Rows = 5, Columns = 3, Block = 2;
        float[] scales = [.. Enumerable.Range(1, count).Select(i => i * 0.37f)];
        byte[] codes = [.. Enumerable.Range(0, Rows * Columns).Select(i => (byte)(i * 17))];
        using Checkpoint checkpoint = Open("F32", suffix, shape, codes, [.. scales.SelectMany(BitConverter.GetBytes)]);
        CheckpointTensor weight = checkpoint["p.weight"];
        Float8Scale scale = Float8Scale.Find(checkpoint, weight, Block, Block)!;
        var widened = new ushort[Rows * Columns];
        fixed (ushort* destination = widened)
        {
            Float8.Widen(weight.DType, weight.Pointer, destination, Rows, Columns, scale);
        }

        for (int row = 0; row < Rows; row++)
        {
            for (int column = 0; column < Columns; column++)
            {
                int which = count switch { 1 => 0, 5 => row, _ => (row / Block * 2) + (column / Block) };
                float expected = Float8.Decode(DType.Float8E4M3, codes[(row * Columns) + column]) * scales[which];
                Assert.Equal(Float8.SingleToBFloat16(expected), widened[(row * Columns) + column]);
            }
        }
    }

    [Theory]
    [InlineData("BF16", new byte[] { 0x00, 0x40 })]
    [InlineData("F16", new byte[] { 0x00, 0x40 })]
    public void ScalesMayBeHalfAsWide(string dtype, byte[] two)
    {
        using Checkpoint checkpoint = Open(dtype, "_scale", "[]", new byte[15], two);
        Assert.Equal(2, Float8Scale.Find(checkpoint, checkpoint["p.weight"])!.At(4, 2));
    }

    [Fact]
    public void AWeightWithoutAScaleHasNone()
    {
        using Checkpoint checkpoint = Open("F32", "_zero", "[]", new byte[15], new byte[4]);
        Assert.Null(Float8Scale.Find(checkpoint, checkpoint["p.weight"]));
    }

    [Fact]
    public void AScaleOfAnotherShapeOrTypeIsRefused()
    {
        using (Checkpoint checkpoint = Open("F32", "_scale", "[2]", new byte[15], new byte[8]))
        {
            TemporaryFolder.Refuses(CheckpointError.WeightMismatch, "has shape [2]", () => Float8Scale.Find(checkpoint, checkpoint["p.weight"]));
        }

        using (Checkpoint checkpoint = Open("I32", "_scale", "[]", new byte[15], new byte[4]))
        {
            TemporaryFolder.Refuses(CheckpointError.UnknownDType, "is I32", () => Float8Scale.Find(checkpoint, checkpoint["p.weight"]));
        }
    }

    [Fact]
    public void BFloat16RoundsToNearestTiesToEven()
    {
        Assert.Equal(0x3F80, Float8.SingleToBFloat16(1 + MathF.Pow(2, -8)));
        Assert.Equal(0x3F82, Float8.SingleToBFloat16(1 + (3 * MathF.Pow(2, -8))));
        Assert.Equal(0x3F81, Float8.SingleToBFloat16(1 + (1.01f * MathF.Pow(2, -8))));
        Assert.Equal(0x7F80, Float8.SingleToBFloat16(float.MaxValue));
        Assert.Equal(0xFF80, Float8.SingleToBFloat16(float.NegativeInfinity));
        Assert.True(float.IsNaN(Float8.BFloat16ToSingle(Float8.SingleToBFloat16(float.NaN))));
    }

    private static void AllCodesAreExact(DType type, Func<byte, double> expected)
    {
        byte[] codes = [.. Enumerable.Range(0, 256).Select(code => (byte)code)];
        var widened = new ushort[256];
        fixed (byte* source = codes)
        fixed (ushort* destination = widened)
        {
            Float8.Widen(type, source, destination, codes.Length);
        }

        foreach (byte code in codes)
        {
            float value = Float8.BFloat16ToSingle(widened[code]);
            Assert.Equal(expected(code), value);
            Assert.Equal(double.IsNegative(expected(code)) && !double.IsNaN(value), float.IsNegative(value) && !float.IsNaN(value));
        }
    }

    private Checkpoint Open(string scaleType, string suffix, string scaleShape, byte[] codes, byte[] scales)
    {
        // The scale comes after 15 bytes of weight: not aligned, as it may be.
        string header = RawSafetensors.Header(
            RawSafetensors.Entry("p.weight", "F8_E4M3", "[5,3]", "[0,15]"),
            RawSafetensors.Entry("p.weight" + suffix, scaleType, scaleShape, $"[15,{15 + scales.Length}]"));
        byte[] bytes = RawSafetensors.Bytes(header, codes.Length + scales.Length);
        codes.CopyTo(bytes, bytes.Length - codes.Length - scales.Length);
        scales.CopyTo(bytes, bytes.Length - scales.Length);
        File.WriteAllBytes(_folder.File("model.safetensors"), bytes);
        return Checkpoint.Open(_folder.Path);
    }
}

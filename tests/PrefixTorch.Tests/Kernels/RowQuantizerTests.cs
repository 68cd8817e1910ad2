using CsCheck;
using PrefixTorch.Caching;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Rows of 8 bits: the definition, and one result whatever computes it.</summary>
public unsafe class RowQuantizerTests
{
    // Rows of any width and size; the first is zero now and then.
    private static readonly Gen<(int Width, float[] Numbers)> s_rows =
        Gen.Select(Gen.Int[1, 150], Gen.Int[0, 1000], Gen.Float[-44, 37]).Select((width, seed, exponent) =>
        {
            var random = new Random(seed);
            return (width, Enumerable.Range(0, 3 * width).Select(i => seed % 3 == 0 && i < width ? 0 : (random.NextSingle() - 0.5f) * MathF.Pow(10, exponent)).ToArray());
        });

    public static TheoryData<string> Isas() => [.. Cpu.Available.Select(isa => isa.ToString())];

    [Theory]
    [MemberData(nameof(Isas))]
    public void EveryNumberIsWithinHalfAStepAndWidenedItIsQuantizedTheSame(string isa) => s_rows.Sample(rows =>
    {
        KernelSet kernels = KernelSet.For(Enum.Parse<Isa>(isa));
        (int width, float[] numbers) = rows;
        var wide = new float[width];
        for (int row = 0; row < 3; row++)
        {
            float[] exact = numbers[(row * width)..((row + 1) * width)];
            (sbyte[] codes, float scale) = Quantize(kernels, exact);
            float max = exact.Max(MathF.Abs);
            if (scale == 0)
            {
                Assert.InRange(max / 127, 0, MathF.BitDecrement(Int8Rows.SmallestScale));
                Assert.All(codes, code => Assert.Equal(0, code));
                continue;
            }

            // What lies just below may be rounded up to it.
            Assert.InRange(scale, Int8Rows.SmallestScale, float.MaxValue);
            Assert.Equal(max / 127, scale, max / 127 / (1 << 17));
            Assert.All(Enumerable.Range(0, width), i => Assert.InRange(Math.Abs(exact[i] - codes[i] * (double)scale), 0, 0.501 * scale));
            fixed (sbyte* from = codes)
            fixed (float* to = wide)
            {
                kernels.WidenInt8(from, scale, width, DType.Float32, (byte*)to);
            }

            Assert.All(Enumerable.Range(0, width), i => Assert.Equal(codes[i] * (double)scale, wide[i]));
            (sbyte[] again, float scaleAgain) = Quantize(kernels, wide);
            Assert.Equal(scale, scaleAgain);
            Assert.Equal(codes, again);
        }
    }, iter: 300);

    [Fact]
    public void EveryInstructionSetAndLibtorchGiveTheSameBits() => s_rows.Sample(rows =>
    {
        (int width, float[] numbers) = rows;
        var layout = new KvLayout(1, 1, width, DType.Int8);
        var buffer = new HostKvBuffer(layout, 3, fills: false);
        using (var scope = torch.NewDisposeScope())
        {
            torch.Tensor row = torch.tensor(numbers, [1, 3, width]);
            KvTensors.Write(new KvSegment(buffer, 0, 3), 0, row, row * -1);
        }

        foreach (Isa isa in Cpu.Available)
        {
            for (int row = 0; row < 3; row++)
            {
                (sbyte[] codes, float scale) = Quantize(KernelSet.For(isa), numbers[(row * width)..((row + 1) * width)]);
                Assert.Equal(scale, *buffer.KeyScales(0, 0, row));
                Assert.Equal(scale, *buffer.ValueScales(0, 0, row));
                Assert.Equal(codes, new ReadOnlySpan<sbyte>(buffer.Keys(0, 0, row), width).ToArray());
                Assert.Equal(codes, new ReadOnlySpan<sbyte>(buffer.Values(0, 0, row), width).ToArray().Select(code => (sbyte)-code));
            }
        }

        buffer.Release();
    }, iter: 200);

    [Theory]
    [MemberData(nameof(Isas))]
    public void ManyRowsAtOnceAreTheRowsOneByOneAndBack(string isa) => s_rows.Sample(rows =>
    {
        KernelSet kernels = KernelSet.For(Enum.Parse<Isa>(isa));
        (int width, float[] numbers) = rows;
        var codes = new sbyte[numbers.Length];
        var scales = new float[3];
        var wide = new float[numbers.Length];
        fixed (float* from = numbers, toScales = scales, back = wide)
        fixed (sbyte* to = codes)
        {
            kernels.QuantizeInt8Rows(DType.Float32, (byte*)from, 3, width, to, toScales);
            kernels.WidenInt8Rows(to, toScales, 3, width, DType.Float32, (byte*)back);
        }

        for (int row = 0; row < 3; row++)
        {
            (sbyte[] expected, float scale) = Quantize(kernels, numbers[(row * width)..((row + 1) * width)]);
            Assert.Equal(scale, scales[row]);
            Assert.Equal(expected, codes[(row * width)..((row + 1) * width)]);
            Assert.Equal(expected.Select(code => code * scale), wide[(row * width)..((row + 1) * width)]);
        }
    }, iter: 200);

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    [InlineData(-2e38f)]
    public void WhatCannotBeHeldIsNotANumberAndStaysSo(float strange)
    {
        foreach (int at in new[] { 0, 40, 66 })
        {
            float[] numbers = [.. Enumerable.Range(0, 67).Select(i => i == at ? strange : i)];
            foreach (Isa isa in Cpu.Available)
            {
                (sbyte[] codes, float scale) = Quantize(KernelSet.For(isa), numbers);
                Assert.Equal(float.NaN, scale);
                Assert.All(codes, code => Assert.Equal(0, code));
            }

            var buffer = new HostKvBuffer(new KvLayout(1, 1, 67, DType.Int8), 1, fills: false);
            using var scope = torch.NewDisposeScope();
            torch.Tensor row = torch.tensor(numbers, [1, 1, 67]);
            KvTensors.Write(new KvSegment(buffer, 0, 1), 0, row, row);
            (torch.Tensor keys, _) = KvTensors.Read(new KvSegment(buffer, 0, 1), 0);
            Assert.All(keys.data<float>().ToArray(), number => Assert.Equal(float.NaN, number));
            buffer.Release();
        }
    }

    private static (sbyte[] Codes, float Scale) Quantize(KernelSet kernels, float[] numbers)
    {
        var codes = new sbyte[numbers.Length];
        fixed (float* from = numbers)
        fixed (sbyte* to = codes)
        {
            return (codes, kernels.QuantizeInt8(from, numbers.Length, to));
        }
    }
}

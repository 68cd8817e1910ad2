using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Activations as signed bytes, a scale for each lane of a block: what they mean, alike on every instruction set.</summary>
public unsafe class CodedActivationTests
{
    [Theory]
    [MemberData(nameof(CodeKernelTests.IsasAndFormats), MemberType = typeof(CodeKernelTests))]
    public void TheyAreNearTheNumbersAndAlikeOnEveryInstructionSet(string isa, bool int4)
    {
        foreach (int columns in new[] { 1, 31, 64, 512, 576, 1100 })
        {
            float[] x = Quantized.Random(columns, seed: columns);
            byte[] coded = Encode(Enum.Parse<Isa>(isa), x, int4);
            Assert.Equal(Encode(Isa.Portable, x, int4), coded);
            fixed (byte* row = coded)
            {
                for (int k = 0; k < columns; k++)
                {
                    Assert.Equal((double)x[k], Value(row, int4, k), Scale(row, int4, k) * 0.5001);
                }
            }
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void CorrectionsAreMultiplesOfALanesSum(bool int4)
    {
        byte[] coded = Encode(Cpu.Isa, Quantized.Random(600, seed: 2), int4);
        fixed (byte* row = coded)
        {
            for (byte* block = row; block < row + coded.Length; block += CodedRows.BlockBytes)
            {
                var values = (sbyte*)block + CodedRows.ValuesAt;
                for (int lane = 0; lane < 16; lane++)
                {
                    int sum = Enumerable.Range(0, 32).Sum(i => values[(i / 4 * 64) + (lane * 4) + (i % 4)]);
                    Assert.Equal((int4 ? -1 : -128) * sum, ((int*)(block + CodedRows.CorrectionsAt))[lane]);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(CodeKernelTests.IsasAndFormats), MemberType = typeof(CodeKernelTests))]
    public void WhatIsNoNumberStaysNone(string isa, bool int4)
    {
        foreach (float strange in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            float[] x = Quantized.Random(512, seed: 3);
            x[77] = strange;
            byte[] coded = Encode(Enum.Parse<Isa>(isa), x, int4);
            fixed (byte* row = coded)
            {
                Assert.Equal(double.NaN, Value(row, int4, 77));
                Assert.Equal((double)x[300], Value(row, int4, 300), 0.01);
            }
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void NumbersTooSmallForAScaleAreZero(bool int4)
    {
        float[] x = [.. Enumerable.Repeat(1e-40f, 64)];
        byte[] coded = Encode(Cpu.Isa, x, int4);
        fixed (byte* row = coded)
        {
            Assert.Equal(0, Value(row, int4, 5));
        }
    }

    /// <summary>What an encoded row holds at a column.</summary>
    internal static double Value(byte* row, bool int4, int k)
    {
        var values = (sbyte*)row + (k / CodedRows.Block * CodedRows.BlockBytes) + CodedRows.ValuesAt;
        int i = k % CodedRows.Block;
        if (!int4)
        {
            return Scale(row, int4, k) * values[i];
        }

        // Where the weight's code stands: the lower four bits of a word's bytes are one register, the upper ones the next.
        (int word, int shift) = CodeFormat.Int4Place(i);
        int run = word / 16, lane = word % 16, place = shift / 8, upper = shift % 8 / 4;
        return Scale(row, int4, k) * values[(((2 * run) + upper) * 64) + (lane * 4) + place];
    }

    private static double Scale(byte* row, bool int4, int k)
    {
        var scales = (float*)(row + (k / CodedRows.Block * CodedRows.BlockBytes));
        int i = k % CodedRows.Block;
        return int4 ? scales[i / 32] * (double)CodeFormat.ZeroParts : scales[i / 4 % 16];
    }

    private static byte[] Encode(Isa isa, float[] x, bool int4)
    {
        var coded = new byte[CodedRows.Bytes(1, x.Length)];
        NativeBlock memory = NativeBlock.Allocate(coded.Length);
        fixed (float* from = x)
        {
            KernelSet.For(isa).EncodeActivations(DType.Float32, (byte*)from, x.Length, int4, memory.Pointer);
        }

        new Span<byte>(memory.Pointer, coded.Length).CopyTo(coded);
        memory.Release();
        return coded;
    }
}

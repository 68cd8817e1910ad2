using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Activations as whole numbers, a scale for each lane of a block: what they mean, alike on every instruction set.</summary>
public unsafe class CodedActivationTests
{
    public static TheoryData<string, string> IsasAndOrders()
    {
        var data = new TheoryData<string, string>();
        foreach (Isa isa in Cpu.Available)
        {
            foreach (CodedOrder order in Enum.GetValues<CodedOrder>())
            {
                data.Add(isa.ToString(), order.ToString());
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(IsasAndOrders))]
    public void TheyAreNearTheNumbersAndAlikeOnEveryInstructionSet(string isa, string order)
    {
        foreach (int columns in new[] { 1, 31, 64, 512, 576, 1100 })
        {
            float[] x = Quantized.Random(columns, seed: columns);
            using var coded = new Row(Enum.Parse<Isa>(isa), Enum.Parse<CodedOrder>(order), x);
            using var portable = new Row(Isa.Portable, Enum.Parse<CodedOrder>(order), x);
            Assert.Equal(portable.Bytes, coded.Bytes);
            for (int k = 0; k < columns; k++)
            {
                Assert.Equal((double)x[k], Value(coded.Rows, 0, k), Scale(coded.Rows, 0, k) * 0.5001);
            }
        }
    }

    [Fact]
    public void CorrectionsAreMultiplesOfALanesSum()
    {
        using var coded = new Row(Cpu.Isa, CodedOrder.Bytes, Quantized.Random(600, seed: 2));
        for (byte* block = coded.Rows.Row(0); block < coded.Rows.Row(1); block += coded.Rows.BlockSize)
        {
            var values = (sbyte*)block + CodedRows.ValuesAt;
            for (int lane = 0; lane < 16; lane++)
            {
                int sum = Enumerable.Range(0, 32).Sum(i => values[(i / 4 * 64) + (lane * 4) + (i % 4)]);
                Assert.Equal(-128 * sum, ((int*)(block + CodedRows.CorrectionsAt))[lane]);
            }
        }
    }

    [Fact]
    public void WordsAreTheBytesApartAndTheirScalesASmallerPowerOfTwo()
    {
        float[] x = Quantized.Random(600, seed: 6);
        using var bytes = new Row(Cpu.Isa, CodedOrder.Bytes, x);
        using var words = new Row(Cpu.Isa, CodedOrder.Words, x);
        for (int k = 0; k < x.Length; k++)
        {
            Assert.Equal(Value(bytes.Rows, 0, k), Value(words.Rows, 0, k));
        }
    }

    [Theory]
    [MemberData(nameof(IsasAndOrders))]
    public void WhatIsNoNumberStaysNone(string isa, string order)
    {
        foreach (float strange in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            float[] x = Quantized.Random(512, seed: 3);
            x[77] = strange;
            using var coded = new Row(Enum.Parse<Isa>(isa), Enum.Parse<CodedOrder>(order), x);
            Assert.Equal(double.NaN, Value(coded.Rows, 0, 77));
            Assert.Equal((double)x[300], Value(coded.Rows, 0, 300), 0.01);
        }
    }

    [Theory]
    [InlineData(nameof(CodedOrder.Bytes))]
    [InlineData(nameof(CodedOrder.Words))]
    public void NumbersTooSmallForAScaleAreZero(string order)
    {
        using var coded = new Row(Cpu.Isa, Enum.Parse<CodedOrder>(order), [.. Enumerable.Repeat(1e-40f, 64)]);
        Assert.Equal(0, Value(coded.Rows, 0, 5));
    }

    /// <summary>What an encoded row holds at a column.</summary>
    internal static double Value(CodedRows rows, int row, int k)
    {
        byte* values = rows.Row(row) + (k / CodedRows.Block * rows.BlockSize) + CodedRows.ValuesAt;
        int i = k % CodedRows.Block;
        return Scale(rows, row, k) * (rows.Order == CodedOrder.Bytes ? ((sbyte*)values)[i] : ((short*)values)[(i / 64 * 64) + (i % 2 * 32) + (i % 64 / 2)]);
    }

    private static double Scale(CodedRows rows, int row, int k)
    {
        var scales = (float*)(rows.Row(row) + (k / CodedRows.Block * rows.BlockSize));
        int i = k % CodedRows.Block;
        return scales[i / 4 % 16] * (rows.Order == CodedOrder.Words ? 256.0 : 1);
    }

    /// <summary>One encoded row.</summary>
    private sealed class Row : IDisposable
    {
        private readonly NativeBlock _memory;

        public Row(Isa isa, CodedOrder order, float[] x)
        {
            _memory = NativeBlock.Allocate(CodedRows.Bytes(order, 1, x.Length));
            Rows = new CodedRows(_memory.Pointer, order, 1, x.Length);

            // Words have no corrections.
            new Span<byte>(_memory.Pointer, (int)_memory.ByteCount).Clear();
            fixed (float* from = x)
            {
                KernelSet.For(isa).EncodeActivations(DType.Float32, (byte*)from, Rows, 0);
            }
        }

        public CodedRows Rows { get; }

        public byte[] Bytes => new Span<byte>(_memory.Pointer, (int)_memory.ByteCount).ToArray();

        public void Dispose() => _memory.Release();
    }
}

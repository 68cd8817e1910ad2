using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Panels;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Activations for int4, as whole numbers with a scale for each group: what they mean, alike on every instruction set.</summary>
public unsafe class GroupRowsTests
{
    public static TheoryData<string> Isas => [.. Cpu.Available.Select(isa => isa.ToString())];

    [Theory]
    [MemberData(nameof(Isas))]
    public void TheyAreNearTheNumbersAndAlikeOnEveryInstructionSet(string isa)
    {
        foreach ((int rows, int columns) in new[] { (1, 1), (3, 31), (16, 64), (1, 576), (18, 100) })
        {
            float[] x = Quantized.Random(rows * columns, seed: columns);
            using var coded = new Encoded(Enum.Parse<Isa>(isa), x, rows);
            using var portable = new Encoded(Isa.Portable, x, rows);
            Assert.Equal(portable.Bytes, coded.Bytes);
            for (int i = 0; i < x.Length; i++)
            {
                (int row, int k) = (i / columns, i % columns);
                Assert.Equal((double)x[i], Value(coded.Rows, row, k), *Scale(coded.Rows, row, k) * 16 * 0.5001);
            }
        }
    }

    [Fact]
    public void CorrectionsAreTheNegativeSumsOfGroupsAndOffsetsExactProducts()
    {
        using var coded = new Encoded(Cpu.Isa, Quantized.Random(2 * 100, seed: 2), 2);
        for (int row = 0; row < 2; row++)
        {
            for (int group = 0; group < 4; group++)
            {
                int sum = Enumerable.Range(0, 32).Sum(i => (int)*Place(coded.Rows, row, (group * 32) + i));
                byte* scale = (byte*)Scale(coded.Rows, row, group * 32);
                Assert.Equal(-sum, *(float*)(scale + coded.Rows.ScaleBytes));
                Assert.Equal(-(double)WholeNumbers.Shift * *(float*)scale, *(float*)(scale + (2 * coded.Rows.ScaleBytes)));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void WhatIsNoNumberStaysNone(string isa)
    {
        foreach (float strange in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            float[] x = Quantized.Random(128, seed: 3);
            x[77] = strange;
            using var coded = new Encoded(Enum.Parse<Isa>(isa), x, 1);
            Assert.Equal(double.NaN, Value(coded.Rows, 0, 77));
            Assert.Equal((double)x[30], Value(coded.Rows, 0, 30), 0.01);
        }
    }

    [Fact]
    public void NumbersTooSmallForAScaleAreZero()
    {
        using var coded = new Encoded(Cpu.Isa, [.. Enumerable.Repeat(1e-40f, 64)], 1);
        Assert.Equal(0, Value(coded.Rows, 0, 5));
    }

    /// <summary>What an encoded row holds at a column.</summary>
    internal static double Value(GroupRows rows, int row, int k) => *Scale(rows, row, k) * (double)CodeFormat.ZeroParts * *Place(rows, row, k);

    private static float* Scale(GroupRows rows, int row, int k) => (float*)(rows.At(row / 16, k / 32) + rows.ScalesAt) + (row % 16);

    // Where the weight's code stands: of a word's bytes the lower four bits are one word of activations, the upper ones the next.
    private static sbyte* Place(GroupRows rows, int row, int k)
    {
        (int word, int shift) = CodeFormat.Int4Place(0, k % 32);
        return (sbyte*)rows.At(row / 16, k / 32) + (row % 16 * 32) + (word / 16 * 8) + (shift % 8 / 4 * 4) + (shift / 8);
    }

    /// <summary>Encoded rows.</summary>
    private sealed class Encoded : IDisposable
    {
        private readonly NativeBlock _memory;

        public Encoded(Isa isa, float[] x, int rows)
        {
            int columns = x.Length / rows;
            _memory = NativeBlock.Allocate(GroupRows.Bytes(rows, columns));
            Rows = new GroupRows(_memory.Pointer, rows, columns);

            // Rows that there are not stay as they are.
            new Span<byte>(_memory.Pointer, (int)_memory.ByteCount).Clear();
            fixed (float* from = x)
            {
                for (int row = 0; row < rows; row++)
                {
                    KernelSet.For(isa).EncodeActivations(DType.Float32, (byte*)(from + (row * columns)), Rows, row);
                }
            }
        }

        public GroupRows Rows { get; }

        public byte[] Bytes => new Span<byte>(_memory.Pointer, (int)_memory.ByteCount).ToArray();

        public void Dispose() => _memory.Release();
    }
}

using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Panels;
using PrefixTorch.Memory;
using PrefixTorch.Model;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Quantized weights: what quantization makes, how it is widened, and what its products give, on every instruction set.</summary>
public unsafe class CodeKernelTests
{
    public static TheoryData<string, bool> IsasAndFormats()
    {
        var data = new TheoryData<string, bool>();
        foreach (Isa isa in Cpu.Available)
        {
            data.Add(isa.ToString(), true);
            data.Add(isa.ToString(), false);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(IsasAndFormats))]
    public void ProductsAreThoseOfWhatCodesAndActivationsMean(string isa, bool int4)
    {
        KernelSet kernels = KernelSet.For(Enum.Parse<Isa>(isa));
        foreach ((int rows, int columns, int outputs) in new[] { (1, 128, 4), (1, 64, 3), (3, 576, 9), (4, 256, 6), (16, 300, 33), (7, 1100, 5), (9, 2600, 5), (70, 600, 37) })
        {
            using var weights = new Quantized(outputs, columns, int4, seed: 1);
            using var x = new Activations(kernels, rows, columns, int4, seed: 2);
            var y = new float[rows * outputs];
            float[]? bias = rows % 2 == 0 ? Quantized.Random(outputs, seed: 3) : null;
            fixed (float* to = y, b = bias)
            {
                x.Multiply(kernels, weights, b, 0, outputs, to, outputs);
            }

            float[] wide = weights.Widen(kernels);
            for (int r = 0; r < rows; r++)
            {
                for (int n = 0; n < outputs; n++)
                {
                    double expected = bias?[n] ?? 0, size = Math.Abs(expected);
                    for (int k = 0; k < columns; k++)
                    {
                        double product = wide[n * columns + k] * x[r, k];
                        expected += product;
                        size += Math.Abs(product);
                    }

                    Assert.Equal(expected, y[r * outputs + n], size * 1e-6);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(IsasAndFormats))]
    public void ARowGivesTheSameBitsAloneAndInABatch(string isa, bool int4)
    {
        KernelSet kernels = KernelSet.For(Enum.Parse<Isa>(isa));
        const int Rows = 21, Columns = 320, Outputs = 30;
        using var weights = new Quantized(Outputs, Columns, int4, seed: 3);
        using var together = new Activations(kernels, Rows, Columns, int4, seed: 4);
        float[] all = new float[Rows * Outputs], one = new float[Outputs];
        fixed (float* a = all, o = one)
        {
            together.Multiply(kernels, weights, null, 0, Outputs, a, Outputs);
            for (int r = 0; r < Rows; r++)
            {
                using var alone = new Activations(kernels, together.Floats.AsSpan(r * Columns, Columns).ToArray(), 1, Columns, int4);
                alone.Multiply(kernels, weights, null, 0, 16, o, Outputs);
                alone.Multiply(kernels, weights, null, 16, Outputs, o, Outputs);
                Assert.Equal(all.AsSpan(r * Outputs, Outputs).ToArray(), one);
            }
        }
    }

    [Theory]
    [MemberData(nameof(IsasAndFormats))]
    public void EveryInstructionSetWidensAlikeAndNearTheWeights(string isa, bool int4)
    {
        const int Outputs = 5, Columns = 200;
        using var weights = new Quantized(Outputs, Columns, int4, seed: 5);
        float[] wide = weights.Widen(KernelSet.For(Enum.Parse<Isa>(isa)));
        Assert.Equal(weights.Widen(KernelSet.For(Isa.Portable)), wide);
        for (int n = 0; n < Outputs; n++)
        {
            for (int start = 0; start < Columns; start += 32)
            {
                int count = Math.Min(32, Columns - start);
                float largest = Enumerable.Range(start, count).Max(k => MathF.Abs(weights.Original[n * Columns + k]));
                float row = Enumerable.Range(0, Columns).Max(k => MathF.Abs(weights.Original[n * Columns + k]));
                float step = int4 ? largest / 7 : row / 127;
                Assert.All(Enumerable.Range(start, count), k => Assert.InRange(MathF.Abs(weights.Original[n * Columns + k] - wide[n * Columns + k]), 0, 0.51f * step + (int4 ? largest / 7 : 0)));
            }
        }
    }

    [Fact]
    public void ActivationsOfAnotherOrderAreRefused()
    {
        using var weights = new Quantized(4, 64, int4: false, seed: 7);
        var x = new CodedRows(null, CodedOrder.Bytes, 1, 64);
        var y = new float[4];
        string message = Assert.Throws<ArgumentException>(() =>
        {
            fixed (float* to = y)
            {
                KernelSet.For(Isa.Portable).LinearInt8(weights.Codes, weights.Scales, null, 0, 4, x, to, 4);
            }
        }).Message;
        Assert.Contains("stand as Bytes and int8 meets Words", message, StringComparison.Ordinal);
    }

    [Fact]
    public void WhatFourBitsHoldExactlyComesBackExactly()
    {
        // Four bits with a minimum, in several groups of their own scales: squares, as the bytes are; no error at all.
        float[] exact = [.. Enumerable.Range(0, 544).Select(i => (i * 7 % 16 - (i / 32 % 15)) * (i / 32 % 3 == 0 ? 255 * 255 : 16 * 16) * 0.125f)];
        using var weights = new Quantized(exact, 1, 544, int4: true);
        Assert.Equal(exact, weights.Widen(KernelSet.Current));
    }

    [Fact]
    public void MatricesOfOneProductAreOfOneFormat()
    {
        NativeBlock memory = NativeBlock.Allocate(2048);
        using var floats = new WeightMatrix("q_proj", DType.BFloat16, 2, 128, memory.Retain(), memory.Pointer);
        using var codes = new WeightMatrix("k_proj", WeightFormat.Int4, 2, 128, memory.Retain(), memory.Pointer, memory.Retain(), (float*)memory.Pointer);
        string message = Assert.Throws<PrefixTorchException>(() => new Linear(null, floats, codes)).Message;
        Assert.Contains("q_proj is held as Float and k_proj as Int4", message, StringComparison.Ordinal);
        memory.Release();
    }

    [Fact]
    public void ZerosStayZeros()
    {
        foreach (bool int4 in new[] { true, false })
        {
            using var weights = new Quantized(new float[3 * 96], 3, 96, int4);
            Assert.All(weights.Widen(KernelSet.Current), value => Assert.Equal(0, value));
            using var x = new Activations(KernelSet.Current, new float[96], 1, 96, int4);
            var y = new float[3];
            fixed (float* to = y)
            {
                x.Multiply(KernelSet.Current, weights, null, 0, 3, to, 3);
            }

            Assert.Equal(new float[3], y);
        }
    }

    /// <summary>Rows as the products read them.</summary>
    private sealed class Activations : IDisposable
    {
        private readonly NativeBlock _block;
        private readonly CodedRows _coded;
        private readonly GroupRows _groups;
        private readonly bool _int4;

        public Activations(KernelSet kernels, int rows, int columns, bool int4, int seed)
            : this(kernels, Quantized.Random(rows * columns, seed), rows, columns, int4)
        {
        }

        public Activations(KernelSet kernels, float[] values, int rows, int columns, bool int4)
        {
            Floats = values;
            _int4 = int4;
            _block = NativeBlock.Allocate(int4 ? GroupRows.Bytes(rows, columns) : CodedRows.Bytes(kernels.VectorOrder, rows, columns));
            _coded = new CodedRows(_block.Pointer, kernels.VectorOrder, rows, columns);
            _groups = new GroupRows(_block.Pointer, rows, columns);
            fixed (float* x = values)
            {
                for (int row = 0; row < rows; row++)
                {
                    if (int4)
                    {
                        kernels.EncodeActivations(DType.Float32, (byte*)(x + row * columns), _groups, row);
                    }
                    else
                    {
                        kernels.EncodeActivations(DType.Float32, (byte*)(x + row * columns), _coded, row);
                    }
                }
            }
        }

        public float[] Floats { get; }

        /// <summary>What an element means.</summary>
        public double this[int row, int column] => _int4 ? GroupRowsTests.Value(_groups, row, column) : CodedActivationTests.Value(_coded, row, column);

        public void Multiply(KernelSet kernels, Quantized weights, float* bias, int first, int end, float* y, int yStride)
        {
            if (_int4)
            {
                kernels.LinearInt4(weights.Tiles, bias, first, end, _groups, y, yStride);
            }
            else
            {
                kernels.LinearInt8(weights.Codes, weights.Scales, bias, first, end, _coded, y, yStride);
            }
        }

        public void Dispose() => _block.Release();
    }
}

using System.Runtime.InteropServices;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Every kernel of every instruction set of this machine beside the formula, written plainly in double precision.</summary>
public unsafe class KernelTests
{
    private static readonly DType[] s_dtypes = [DType.Float32, DType.BFloat16, DType.Float16];

    public static TheoryData<string> Isas() => [.. Cpu.Available.Select(isa => isa.ToString())];

    [Theory]
    [MemberData(nameof(Isas))]
    public void EveryHalfIsWidenedAndRoundedExactly(string isa)
    {
        KernelSet kernels = Kernels(isa);
        var codes = new ushort[65536 + 3];
        for (int i = 0; i < codes.Length; i++)
        {
            codes[i] = (ushort)i;
        }

        var wide = new float[codes.Length];
        var back = new ushort[codes.Length];
        fixed (ushort* from = codes, to = back)
        fixed (float* w = wide)
        {
            kernels.Convert(DType.Float16, (byte*)from, DType.Float32, (byte*)w, codes.Length);
            Assert.All(Enumerable.Range(0, codes.Length), i => Assert.Equal((float)BitConverter.UInt16BitsToHalf(codes[i]), wide[i]));
            kernels.Convert(DType.Float32, (byte*)w, DType.Float16, (byte*)to, codes.Length);
            Assert.All(Enumerable.Range(0, codes.Length).Where(i => !float.IsNaN(wide[i])), i => Assert.Equal(codes[i], back[i]));

            kernels.Convert(DType.BFloat16, (byte*)from, DType.Float32, (byte*)w, codes.Length);
            Assert.All(Enumerable.Range(0, codes.Length), i => Assert.Equal(BitConverter.UInt32BitsToSingle((uint)codes[i] << 16), wide[i]));
            kernels.Convert(DType.Float32, (byte*)w, DType.BFloat16, (byte*)to, codes.Length);
            Assert.All(Enumerable.Range(0, codes.Length), i => Assert.Equal(float.IsNaN(wide[i]) ? 0x7fc0 : codes[i], back[i]));
        }
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void RoundingToBFloat16TiesToEven(string isa)
    {
        float[] values = [1f, 1.00390625f, 1.01171875f, -1.00390625f, 1.0039064f, float.MaxValue, float.PositiveInfinity, 0, -0f, 1e-40f, 3, 3, 3, 3, 3, 3, 3];
        ushort[] expected = [0x3f80, 0x3f80, 0x3f82, 0xbf80, 0x3f81, 0x7f80, 0x7f80, 0, 0x8000, 0x0001, 0x4040, 0x4040, 0x4040, 0x4040, 0x4040, 0x4040, 0x4040];
        var rounded = new ushort[values.Length];
        fixed (float* from = values)
        fixed (ushort* to = rounded)
        {
            Kernels(isa).Convert(DType.Float32, (byte*)from, DType.BFloat16, (byte*)to, values.Length);
        }

        Assert.Equal(expected, rounded);
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void LinearIsTheProduct(string isa)
    {
        KernelSet kernels = Kernels(isa);
        foreach (DType dtype in s_dtypes)
        {
            foreach ((int rows, int columns, int outputs) in new[] { (1, 8, 1), (1, 64, 7), (2, 64, 7), (4, 3, 5), (3, 37, 5), (4, 128, 12), (16, 100, 33), (21, 256, 9) })
            {
                using var weight = new Numbers(outputs * columns, dtype, seed: 1);
                using var x = new Numbers(rows * columns, DType.Float32, seed: 2);
                using var bias = new Numbers(outputs, DType.Float32, seed: 3);
                using var y = new Numbers(rows * outputs, DType.Float32, seed: 4);
                kernels.Linear(dtype, weight.Data, bias.Floats, columns, 0, outputs, x.Floats, columns, rows, y.Floats, outputs);
                for (int r = 0; r < rows; r++)
                {
                    for (int n = 0; n < outputs; n++)
                    {
                        double expected = bias[n];
                        for (int k = 0; k < columns; k++)
                        {
                            expected += weight[n * columns + k] * x[r * columns + k];
                        }

                        Assert.Equal(expected, y[r * outputs + n], 1e-4);
                    }
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void EveryHalfIsAWeight(string isa)
    {
        // Each output has one weight, in the only column that is not zero: by every tile of rows.
        const int Columns = 48, Rows = 20;
        KernelSet kernels = Kernels(isa);
        const int Outputs = 65536;
        using var weight = new Numbers(Outputs * Columns, DType.Float16, seed: 1);
        var codes = new Span<ushort>(weight.Data, Outputs * Columns);
        codes.Clear();
        float[] x = new float[Rows * Columns], y = new float[Rows * Outputs];
        for (int n = 0; n < Outputs; n++)
        {
            codes[n * Columns + 19] = (ushort)n;
        }

        for (int r = 0; r < Rows; r++)
        {
            x[r * Columns + 19] = 1;
        }

        foreach (int rows in new[] { 1, 2, 3, Rows })
        {
            fixed (float* from = x, to = y)
            {
                kernels.Linear(DType.Float16, weight.Data, null, Columns, 0, Outputs, from, Columns, rows, to, Outputs);
            }

            for (int i = 0; i < rows * Outputs; i++)
            {
                var half = (float)BitConverter.UInt16BitsToHalf((ushort)(i % Outputs));
                Assert.True(float.IsNaN(half) ? !float.IsFinite(y[i]) : y[i] == half, $"{rows} rows, {half}: {y[i]}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void ARowGivesTheSameBitsAloneAndInABatch(string isa)
    {
        KernelSet kernels = Kernels(isa);
        const int Columns = 203, Outputs = 31, MostRows = 23, From = 2;
        foreach (DType dtype in s_dtypes)
        {
            using var weight = new Numbers(Outputs * Columns, dtype, seed: 1);
            using var x = new Numbers(MostRows * Columns, DType.Float32, seed: 2);
            using var numbers = new Numbers(Outputs, DType.Float32, seed: 3);
            using var alone = new Numbers(MostRows * Outputs, DType.Float32, seed: 4);
            float* bias = dtype == DType.BFloat16 ? null : numbers.Floats;
            for (int r = 0; r < MostRows; r++)
            {
                kernels.Linear(dtype, weight.Data, bias, Columns, 0, Outputs, x.Floats + r * Columns, Columns, 1, alone.Floats + r * Outputs, Outputs);
            }

            // Of every number of rows every number of outputs, and nothing beside them.
            for (int rows = 1; rows <= MostRows; rows++)
            {
                for (int end = From + 1; end <= Outputs; end++)
                {
                    float[] y = [.. Enumerable.Repeat(float.NaN, (rows + 1) * Outputs)], expected = [.. y];
                    for (int r = 0; r < rows; r++)
                    {
                        new ReadOnlySpan<float>(alone.Floats + r * Outputs + From, end - From).CopyTo(expected.AsSpan(r * Outputs + From));
                    }

                    fixed (float* to = y)
                    {
                        kernels.Linear(dtype, weight.Data, bias, Columns, From, end, x.Floats, Columns, rows, to, Outputs);
                    }

                    Assert.True(MemoryMarshal.AsBytes<float>(expected).SequenceEqual(MemoryMarshal.AsBytes<float>(y)), $"{dtype}, {rows} rows, outputs {From} to {end}");
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void NormSwiGluAddAndRotationAreTheirFormulas(string isa)
    {
        KernelSet kernels = Kernels(isa);
        foreach (int columns in new[] { 4, 8, 37, 96, 128 })
        {
            using var x = new Numbers(columns, DType.Float32, seed: 1);
            using var weight = new Numbers(columns, DType.Float32, seed: 2);
            foreach (DType dtype in new[] { DType.Float32, DType.BFloat16 })
            {
                double rounding = dtype == DType.Float32 ? 1e-5 : 2e-2;
                using var y = new Numbers(columns, dtype, seed: 3);
                kernels.RmsNorm(x.Floats, weight.Floats, columns, 1e-5f, dtype, y.Data);
                double mean = Enumerable.Range(0, columns).Sum(i => x[i] * x[i]) / columns;
                Assert.All(Enumerable.Range(0, columns), i => Assert.Equal(x[i] / Math.Sqrt(mean + 1e-5) * weight[i], y[i], rounding));

                using var gate = new Numbers(columns, DType.Float32, seed: 4);
                using var wide = new Numbers(columns, DType.Float32, seed: 5);
                kernels.SwiGlu(gate.Floats, wide.Floats, columns, dtype, y.Data);
                Assert.All(Enumerable.Range(0, columns), i => Assert.Equal(gate[i] / (1 + Math.Exp(-gate[i])) * wide[i], y[i], rounding));

                using var up = new Numbers(columns, dtype, seed: 5);

                using var sum = new Numbers(columns, DType.Float32, seed: 6);
                double[] before = [.. Enumerable.Range(0, columns).Select(i => sum[i])];
                kernels.Add(sum.Floats, dtype, up.Data, columns);
                Assert.All(Enumerable.Range(0, columns), i => Assert.Equal(before[i] + up[i], sum[i], 1e-5));

                if (columns % 2 == 0)
                {
                    int half = columns / 2;
                    using var cos = new Numbers(half, DType.Float32, seed: 7);
                    using var sin = new Numbers(half, DType.Float32, seed: 8);
                    foreach (DType to in s_dtypes)
                    {
                        using var turned = new Numbers(columns, to, seed: 9);
                        kernels.Rotate(dtype, up.Data, cos.Floats, sin.Floats, columns, 0.5f, to, turned.Data);
                        Assert.All(Enumerable.Range(0, half), i =>
                        {
                            Assert.Equal(0.5 * (up[i] * cos[i] - up[i + half] * sin[i]), turned[i], 2e-2);
                            Assert.Equal(0.5 * (up[i + half] * cos[i] + up[i] * sin[i]), turned[i + half], 2e-2);
                        });
                    }
                }
            }
        }
    }

    private static KernelSet Kernels(string isa) => KernelSet.For(Enum.Parse<Isa>(isa));
}

using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Products of several rows, on every instruction set, for weights of every floating-point type.</summary>
public unsafe class BlockedProductTests
{
    private static readonly DType[] s_dtypes = [DType.Float32, DType.BFloat16, DType.Float16];

    public static TheoryData<string> Isas() => [.. Cpu.Available.Select(isa => isa.ToString())];

    [Theory]
    [MemberData(nameof(Isas))]
    public void EveryNumberOfRowsGivesTheProduct(string isa)
    {
        KernelSet kernels = KernelSet.For(Enum.Parse<Isa>(isa));
        foreach (DType dtype in s_dtypes)
        {
            for (int rows = 1; rows <= 40; rows++)
            {
                // Less than a register, not whole registers, not whole blocks of columns; less than a tile, not whole tiles.
                (int columns, int outputs) = (rows % 4) switch { 0 => (7, 2), 1 => (203, 1), 2 => (2063, 52), _ => (1040, 11) };
                using var weight = new Numbers(outputs * columns, dtype, seed: 1);
                using var x = new Numbers(rows * columns, DType.Float32, seed: 2);
                using var bias = new Numbers(outputs, DType.Float32, seed: 3);
                float[] y = Multiply(kernels, dtype, weight, bias, columns, outputs, x, rows);
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
    public void ARowGivesTheSameBitsWithAnyNumberOfOthers(string isa)
    {
        KernelSet kernels = KernelSet.For(Enum.Parse<Isa>(isa));
        const int Most = 40, Outputs = 53;
        foreach (DType dtype in s_dtypes)
        {
            foreach (int columns in new[] { 64, 203, 1024, 2060 })
            {
                using var weight = new Numbers(Outputs * columns, dtype, seed: 1);
                using var x = new Numbers(Most * columns, DType.Float32, seed: 2);
                using var bias = new Numbers(Outputs, DType.Float32, seed: 3);

                // What decoding computes, one row after the other.
                using var decoded = new Numbers(Most * Outputs, DType.Float32, seed: 4);
                for (int row = 0; row < Most; row++)
                {
                    kernels.Linear(dtype, weight.Data, bias.Floats, columns, 0, Outputs, x.Floats + row * columns, columns, 1, decoded.Floats + row * Outputs, Outputs);
                }

                foreach (int rows in new[] { 1, 4, 16, 17, 40 })
                {
                    Assert.Equal(new ReadOnlySpan<float>(decoded.Floats, rows * Outputs).ToArray(), Multiply(kernels, dtype, weight, bias, columns, Outputs, x, rows));
                }
            }
        }
    }

    // Cut in two, as the threads share a matrix out.
    private static float[] Multiply(KernelSet kernels, DType dtype, Numbers weight, Numbers bias, int columns, int outputs, Numbers x, int rows)
    {
        var y = new float[rows * outputs];
        NativeBlock workspace = NativeBlock.Allocate(ProductShape.WorkspaceBytes(rows));
        int cut = outputs / 2;
        fixed (float* to = y)
        {
            kernels.Product(dtype, weight.Data, bias.Floats, columns, 0, cut, x.Floats, columns, rows, to, outputs, workspace.Pointer);
            kernels.Product(dtype, weight.Data, bias.Floats, columns, cut, outputs, x.Floats, columns, rows, to, outputs, workspace.Pointer);
        }

        workspace.Release();
        return y;
    }
}

using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Products by tiles, where the processor multiplies bf16 or bytes: against their formula, and bit for bit against themselves.</summary>
public unsafe class TileTests
{
    // Odd widths, several K blocks, outputs that are no multiple of four, one row to many.
    private static readonly (int Rows, int Columns, int Outputs)[] s_shapes =
    [
        (1, 32, 4), (1, 40, 3), (2, 31, 5), (3, 576, 9), (6, 2048, 8), (7, 300, 6), (16, 2080, 33), (5, 4300, 4), (64, 257, 70), (70, 2200, 35),
    ];

    public static TheoryData<string> Sources => [nameof(TileSource.BFloat16), nameof(TileSource.Int8)];

    [Theory]
    [MemberData(nameof(Sources))]
    public void ProductsAreThoseOfTheFormula(string kind)
    {
        TileSource source = Enum.Parse<TileSource>(kind);
        Assert.SkipUnless(TileCode.Supports(source), "This processor does not multiply such numbers, or the system allows no code made at run time.");
        foreach ((int rows, int columns, int outputs) in s_shapes)
        {
            using var weights = new TileOperand(source, outputs, columns, seed: 1);
            using var x = new TileRows(source, rows, columns, seed: 2);
            using var bias = new Numbers(outputs, DType.Float32, seed: 3);
            float[] y = Multiply(weights, x, bias.Floats, 0, outputs, 0, rows);
            ProductFormula.Check(y, rows, outputs, columns, bias, (n, k) => weights[n, k], (r, k) => x[r, k]);
        }
    }

    [Theory]
    [MemberData(nameof(Sources))]
    public void ARowGivesTheSameBitsInAProductOfAnySize(string kind)
    {
        TileSource source = Enum.Parse<TileSource>(kind);
        Assert.SkipUnless(TileCode.Supports(source), "This processor does not multiply such numbers, or the system allows no code made at run time.");
        foreach (int columns in new[] { 576, 4300 })
        {
            const int Count = 70, Outputs = 38;
            using var weights = new TileOperand(source, Outputs, columns, seed: 4);
            using var x = new TileRows(source, Count, columns, seed: 5);
            float[] all = Multiply(weights, x, null, 0, Outputs, 0, Count);
            foreach ((int first, int rows) in new[] { (0, 1), (69, 1), (3, 4), (20, 7), (40, 16), (5, 63) })
            {
                float[] some = Multiply(weights, x, null, 0, Outputs, first, rows);
                Assert.Equal(all.AsSpan(first * Outputs, rows * Outputs).ToArray(), some);
            }
        }
    }

    [Fact]
    public void NothingIsReadBehindTheLastRow()
    {
        Assert.SkipUnless(TileCode.Supports(TileSource.BFloat16), "This processor does not multiply bf16, or the system allows no code made at run time.");
        const int Columns = 45, Outputs = 4;
        using var weights = new Numbers(Outputs * Columns + 32, DType.BFloat16, seed: 6);
        using var x = new TileRows(TileSource.BFloat16, 2, Columns, seed: 7);
        for (int i = Outputs * Columns; i < Outputs * Columns + 32; i++)
        {
            BFloat16Element.Store(float.NaN, weights.Data + i * sizeof(ushort));
        }

        var y = new float[2 * Outputs];
        fixed (float* to = y)
        {
            TileProduct.Run(new TileWeights(TileSource.BFloat16, (nint)weights.Data, 0, Columns), null, 0, Outputs, x.Data, x.Pitch, 2, to, Outputs);
        }

        Assert.DoesNotContain(y, float.IsNaN);
    }

    private static float[] Multiply(TileOperand weights, TileRows x, float* bias, int firstOutput, int outputs, int firstRow, int rows)
    {
        var y = new float[rows * outputs];
        fixed (float* to = y)
        {
            TileProduct.Run(weights.Tiles, bias, firstOutput, firstOutput + outputs, x.Data + firstRow * x.Pitch, x.Pitch, rows, to, outputs);
        }

        return y;
    }
}

using System.Runtime.Intrinsics;
using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Panels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Products with panels of int4: by every tile that the machine has, against their formula and bit for bit against each other and themselves.</summary>
public unsafe class PanelTests
{
    // Odd widths, several parts, outputs that fill no panel, rows that fill no tile, one or many.
    private static readonly (int Rows, int Columns, int Outputs)[] s_shapes =
    [
        (1, 32, 4), (1, 40, 19), (2, 31, 5), (3, 576, 16), (5, 2112, 20), (7, 300, 33), (9, 640, 8), (16, 2080, 70), (17, 1100, 16), (70, 1300, 85),
    ];

    [Fact]
    public void ProductsAreThoseOfTheFormulaByEveryTile()
    {
        foreach ((int rows, int columns, int outputs) in s_shapes)
        {
            using var weights = new TileOperand(TileSource.Int4, outputs, columns, seed: 1);
            using var x = new Rows(rows, columns, seed: 2);
            using var bias = new Numbers(outputs, DType.Float32, seed: 3);
            GroupRows coded = x.Encode(0, rows);
            Check(Multiply<VectorTile<WordProducts<Vectors128, Vector128<float>>, Vectors128, Vector128<float>>>(weights, x, bias.Floats, outputs, 0, rows));
            if (!Cpu.Available.Contains(Isa.Avx2))
            {
                continue;
            }

            // With fused multiply-add all have the same bits.
            float[] y = Multiply<VectorTile<WordProducts<Vectors256, Vector256<float>>, Vectors256, Vector256<float>>>(weights, x, bias.Floats, outputs, 0, rows);
            Check(y);
            if (Cpu.Available.Contains(Isa.AvxVnni))
            {
                Assert.Equal(y, Multiply<VectorTile<VnniProducts, Vectors256, Vector256<float>>>(weights, x, bias.Floats, outputs, 0, rows));
            }

            if (Cpu.Available.Contains(Isa.Avx512))
            {
                Assert.Equal(y, Multiply<VectorTile<WordProducts<Vectors512, Vector512<float>>, Vectors512, Vector512<float>>>(weights, x, bias.Floats, outputs, 0, rows));
            }

            if (TileCode.Supports(TileSource.Int4))
            {
                Assert.Equal(y, Multiply<ByteTile>(weights, x, bias.Floats, outputs, 0, rows));
            }

            void Check(float[] products) => ProductFormula.Check(products, rows, outputs, columns, bias, (n, k) => weights[n, k], (r, k) => GroupRowsTests.Value(coded, r, k));
        }
    }

    [Fact]
    public void ARowGivesTheSameBitsInAProductOfAnySize()
    {
        Check<VectorTile<WordProducts<Vectors128, Vector128<float>>, Vectors128, Vector128<float>>>();
        if (Cpu.Available.Contains(Isa.Avx2))
        {
            Check<VectorTile<WordProducts<Vectors256, Vector256<float>>, Vectors256, Vector256<float>>>();
        }

        if (Cpu.Available.Contains(Isa.AvxVnni))
        {
            Check<VectorTile<VnniProducts, Vectors256, Vector256<float>>>();
        }

        if (Cpu.Available.Contains(Isa.Avx512))
        {
            Check<VectorTile<WordProducts<Vectors512, Vector512<float>>, Vectors512, Vector512<float>>>();
        }

        if (TileCode.Supports(TileSource.Int4))
        {
            Check<ByteTile>();
        }

        static void Check<TTile>()
            where TTile : struct, IPanelTile
        {
            const int Count = 70, Outputs = 150, Columns = 1100;
            using var weights = new TileOperand(TileSource.Int4, Outputs, Columns, seed: 4);
            using var x = new Rows(Count, Columns, seed: 5);
            float[] all = Multiply<TTile>(weights, x, null, Outputs, 0, Count);
            for (int rows = 1; rows <= 17; rows++)
            {
                Assert.Equal(all.AsSpan(rows * Outputs, rows * Outputs).ToArray(), Multiply<TTile>(weights, x, null, Outputs, rows, rows));
            }
        }
    }

    private static float[] Multiply<TTile>(TileOperand weights, Rows x, float* bias, int outputs, int firstRow, int rows)
        where TTile : struct, IPanelTile
    {
        var y = new float[rows * outputs];
        GroupRows coded = x.Encode(firstRow, rows);
        int half = outputs / 2 / CodeFormat.Panel * CodeFormat.Panel;
        fixed (float* to = y)
        {
            // In two parts, as threads share them.
            PanelProduct<TTile>.Run(weights.Tiles, bias, half, outputs, coded, to, outputs);
            PanelProduct<TTile>.Run(weights.Tiles, bias, 0, half, coded, to, outputs);
        }

        return y;
    }

    /// <summary>Random rows.</summary>
    private sealed class Rows : IDisposable
    {
        private readonly Numbers _floats;
        private readonly NativeBlock _memory;
        private readonly int _columns;

        public Rows(int rows, int columns, int seed)
        {
            _floats = new Numbers(rows * columns, DType.Float32, seed);
            _memory = NativeBlock.Allocate(GroupRows.Bytes(rows, columns));
            _columns = columns;

            // Rows that there are not may be anything.
            new Span<byte>(_memory.Pointer, (int)_memory.ByteCount).Fill(0xff);
        }

        public GroupRows Encode(int first, int rows)
        {
            var coded = new GroupRows(_memory.Pointer, rows, _columns);
            for (int row = 0; row < rows; row++)
            {
                KernelSet.Current.EncodeActivations(DType.Float32, _floats.Data + ((long)(first + row) * _columns * sizeof(float)), coded, row);
            }

            return coded;
        }

        public void Dispose()
        {
            _floats.Dispose();
            _memory.Release();
        }
    }
}

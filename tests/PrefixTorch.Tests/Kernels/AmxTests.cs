using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Amx;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Products by AMX's tiles, where the processor has them: against their formula, and bit for bit against themselves.</summary>
public unsafe class AmxTests
{
    // Odd widths, several K blocks, outputs that fill no tile, rows that fill none, one or many.
    private static readonly (int Rows, int Columns, int Outputs)[] s_shapes =
    [
        (1, 32, 4), (1, 40, 3), (2, 31, 5), (3, 576, 9), (6, 2048, 16), (7, 300, 17), (16, 2080, 33), (17, 4300, 50), (64, 257, 100), (70, 4200, 35), (33, 96, 150),
    ];

    [Fact]
    public void ProductsOfBFloat16AreThoseOfTheFormulaAndARowGivesTheSameBitsInAnyOfThem() => CheckProducts(TileSource.BFloat16, 1e-6);

    // Weights are widened to eight bits.
    [Fact]
    public void ProductsOfInt4AreThoseOfTheFormulaAndARowGivesTheSameBitsInAnyOfThem() => CheckProducts(TileSource.Int4, 0.0055);

    [Fact]
    public void ARowOfBFloat16GivesTheSameBitsInAProductOfAnySize()
    {
        SkipUnlessAmx();
        foreach (int columns in new[] { 576, 4300 })
        {
            const int Count = 70, Outputs = 102;
            using var weights = new TileOperand(TileSource.BFloat16, Outputs, columns, seed: 4);
            using var x = new TileRows(TileSource.BFloat16, Count, columns, seed: 5);
            float[] all = Multiply(weights, Outputs, x, columns, null, 0, Outputs, 0, Count);
            foreach ((int first, int rows) in new[] { (0, 1), (69, 1), (3, 4), (20, 7), (40, 16), (5, 63) })
            {
                Assert.Equal(all.AsSpan(first * Outputs, rows * Outputs).ToArray(), Multiply(weights, Outputs, x, columns, null, 0, Outputs, first, rows));
            }

            // Some of the outputs: these are right, and nothing is written outside of y.
            float[] some = Multiply(weights, Outputs, x, columns, null, 20, 27, 0, Count);
            Assert.All(Enumerable.Range(0, Count * 7), i => Assert.Equal(all[(i / 7 * Outputs) + 20 + (i % 7)], some[(i / 7 * Outputs) + 20 + (i % 7)]));
        }
    }

    [Fact]
    public void NothingIsReadBehindTheLastRow()
    {
        SkipUnlessAmx();
        const int Columns = 45, Outputs = 20;
        using var weights = new Numbers((Outputs * Columns) + 32, DType.BFloat16, seed: 6);
        using var x = new TileRows(TileSource.BFloat16, 2, Columns, seed: 7);
        for (int i = Outputs * Columns; i < (Outputs * Columns) + 32; i++)
        {
            BFloat16Element.Store(float.NaN, weights.Data + (i * sizeof(ushort)));
        }

        Assert.DoesNotContain(Multiply(new TileWeights(TileSource.BFloat16, (nint)weights.Data, 0, Columns), Outputs, x, Columns, null, 0, Outputs, 0, 2), float.IsNaN);
    }

    [Fact]
    public void ProductsOfBytesAreThoseOfTheFormulaAndARowGivesTheSameBitsInAnyOfThem()
    {
        SkipUnlessAmx();
        foreach ((int rows, int columns, int outputs) in s_shapes)
        {
            using var weights = new TileOperand(TileSource.Int8, outputs, columns, seed: 11);
            using var x = new Numbers(rows * columns, DType.BFloat16, seed: 12);
            using var bias = new Numbers(outputs, DType.Float32, seed: 13);
            using var memory = new Memory(AmxByteRows.Bytes(rows, columns));
            float[] y = Multiply(x.Data, rows, memory.Data, out AmxByteRows packed);
            ProductFormula.Check(y, rows, outputs, columns, bias, (n, k) => weights[n, k], (r, k) =>
            {
                (double value, double scale) = Value(packed, r, k);
                Assert.Equal(x[(r * columns) + k], value, scale * 0.5001);
                return value;
            });
            foreach (int first in new[] { 0, rows / 2, rows - 1 })
            {
                int some = Math.Min(rows - first, 5);
                Assert.Equal(y.AsSpan(first * outputs, some * outputs).ToArray(), Multiply(x.Data + ((long)first * columns * sizeof(ushort)), some, memory.Data, out _));
            }

            float[] Multiply(byte* from, int some, byte* to, out AmxByteRows rowsOfBytes)
            {
                rowsOfBytes = new AmxByteRows(to, some, columns);
                for (int piece = 0; piece < rowsOfBytes.Pieces; piece++)
                {
                    rowsOfBytes.Fill<BFloat16Element>(piece, from, columns * sizeof(ushort));
                }

                var result = new float[some * outputs];
                fixed (float* first = result)
                {
                    for (int n = 0; n < outputs; n += 37)
                    {
                        AmxByteProduct.Run(weights.Tiles, outputs, bias.Floats, n, Math.Min(outputs, n + 37), rowsOfBytes, first, outputs);
                    }
                }

                return result;
            }
        }

        static (double Value, double Scale) Value(AmxByteRows rows, int row, int k)
        {
            // A step of 64 is sixteen times four values of each row, and its scales.
            byte* step = rows.Tile(row / 16) + (k / 64 * 17L * rows.Pitch);
            float scale = ((float*)(step + (16 * rows.Pitch)))[row % 16];
            return (((sbyte*)step)[(k % 64 / 4 * rows.Pitch) + (row % 16 * 4) + (k % 4)] * (double)scale, scale);
        }
    }

    [Fact]
    public void Int4IsWidenedToEightBitsWithoutBias()
    {
        SkipUnlessAmx();
        const int Outputs = 48, Columns = 1536;
        const long Pitch = (Columns * CodeFormat.Panel * sizeof(ushort)) + 64;
        using var weights = new TileOperand(TileSource.Int4, Outputs, Columns, seed: 8);
        using var widened = new Memory(Outputs / CodeFormat.Panel * Pitch);
        var arguments = new TileArguments
        {
            Weights = (byte*)weights.Tiles.Data,
            WeightPitch = CodeFormat.PanelBytes(Columns),
            Rows = Outputs / CodeFormat.Panel,
            Steps = CodeFormat.Int4Blocks(Columns),
            Y = (float*)widened.Data,
            YPitch = Pitch,
            Ahead = (byte*)weights.Tiles.Data,
        };
        AmxCode.Widening()(&arguments);

        double sum = 0, sizes = 0;
        for (int n = 0; n < Outputs; n++)
        {
            for (int k = 0; k < Columns; k++)
            {
                // Two neighbours in k of every output of the panel, then the next two.
                long at = (n / CodeFormat.Panel * Pitch) + (((k / 2 * CodeFormat.Panel) + (n % CodeFormat.Panel)) * sizeof(uint)) + (k % 2 * sizeof(ushort));
                byte root = arguments.Weights[(n / CodeFormat.Panel * arguments.WeightPitch) + CodeFormat.GroupPlace(k / CodeFormat.Group).Scales + (n % CodeFormat.Panel)];
                double expected = weights[n, k], scale = ((float*)weights.Tiles.Scales)[n];
                double actual = BFloat16Element.Load(widened.Data + at) * (double)WideningEmitter.Scale * scale;
                Assert.Equal(expected, actual, (Math.Abs(expected) * 0.006) + (((0.016 * root * root) + 0.002) * scale));
                sum += (actual - expected) * Math.Sign(expected);
                sizes += Math.Abs(expected);
            }
        }

        Assert.InRange(sum / sizes, -3e-4, 3e-4);
    }

    [Theory]
    [InlineData(16, 16, 16)]
    [InlineData(11, 16, 16)]
    [InlineData(16, 4, 4)]
    [InlineData(16, 3, 3)]
    [InlineData(16, 16, 5)]
    public void SquaresAreTurned(int rows, int pitch, int columns)
    {
        SkipUnlessAmx();
        uint[] from = [.. Enumerable.Range(1, 256).Select(i => (uint)i)], to = new uint[256];
        fixed (uint* first = from, target = to)
        {
            Square.Turn((byte*)first, pitch * sizeof(uint), rows, (byte*)target, 64, columns);
        }

        Assert.All(Enumerable.Range(0, columns * 16), i => Assert.Equal(i % 16 < rows ? from[(i % 16 * pitch) + (i / 16)] : 0, to[i]));
    }

    private static void CheckProducts(TileSource source, double tolerance)
    {
        SkipUnlessAmx();
        foreach ((int rows, int columns, int outputs) in s_shapes)
        {
            using var weights = new TileOperand(source, outputs, columns, seed: 14);
            using var x = new TileRows(TileSource.BFloat16, rows, columns, seed: 15);
            using var bias = new Numbers(outputs, DType.Float32, seed: 16);
            float[] y = Multiply(weights, outputs, x, columns, bias.Floats, 0, outputs, 0, rows);
            ProductFormula.Check(y, rows, outputs, columns, bias, (n, k) => weights[n, k], (r, k) => x[r, k], tolerance);
            foreach (int first in new[] { 0, rows / 2, rows - 1 })
            {
                int some = Math.Min(rows - first, 18);
                Assert.Equal(y.AsSpan(first * outputs, some * outputs).ToArray(), Multiply(weights, outputs, x, columns, bias.Floats, 0, outputs, first, some));
            }

            // Some of the outputs: these are right, whichever are computed with them. Those of int4 begin where a panel does.
            int from = source == TileSource.Int4 ? outputs / 3 / CodeFormat.Panel * CodeFormat.Panel : outputs / 3, to = Math.Min(outputs, from + 21);
            float[] part = Multiply(weights, outputs, x, columns, bias.Floats, from, to, 0, rows);
            Assert.All(Enumerable.Range(0, rows * (to - from)), i =>
            {
                int at = (i / (to - from) * outputs) + from + (i % (to - from));
                Assert.Equal(y[at], part[at]);
            });
        }
    }

    private static void SkipUnlessAmx() => Assert.SkipUnless(
        Cpu.Available.Contains(Isa.Amx) && KernelSet.For(Isa.Amx).HasAmx, "This processor has no AMX, or the system does not allow it, or PREFIXTORCH_ISA forbids its code.");

    private static float[] Multiply(TileOperand weights, int all, TileRows x, int columns, float* bias, int firstOutput, int end, int firstRow, int rows) =>
        Multiply(weights.Tiles, all, x, columns, bias, firstOutput, end, firstRow, rows);

    private static float[] Multiply(TileWeights weights, int all, TileRows x, int columns, float* bias, int firstOutput, int end, int firstRow, int rows)
    {
        var y = new float[rows * all];
        if (weights.Source == TileSource.Int4)
        {
            return MultiplyPanels(weights, all, x, columns, bias, firstOutput, end, firstRow, rows);
        }

        using var memory = new Memory(AmxRows.Bytes(rows, columns));
        var packed = new AmxRows(memory.Data, rows, columns);
        for (int piece = 0; piece < packed.Pieces; piece++)
        {
            packed.Fill(piece, x.Data + (firstRow * x.Pitch), x.Pitch);
        }

        using var workspace = new Memory(AmxProduct.WorkspaceBytes(packed.Tiles));
        fixed (float* to = y)
        {
            AmxProduct.Run(weights, all, bias, firstOutput, end, packed, to, all, workspace.Data);
        }

        return y;
    }

    private static float[] MultiplyPanels(TileWeights weights, int all, TileRows x, int columns, float* bias, int firstOutput, int end, int firstRow, int rows)
    {
        var y = new float[rows * all];
        using var memory = new Memory(PaddedRows.Bytes(rows, columns));
        new Span<byte>(memory.Data, (int)PaddedRows.Bytes(rows, columns)).Fill(0xff);
        var padded = new PaddedRows(memory.Data, rows, columns);
        for (int row = 0; row < rows; row++)
        {
            padded.Fill(row, x.Data + ((firstRow + row) * x.Pitch));
        }

        using var workspace = new Memory(AmxPanelProduct.WorkspaceBytes(padded.Tiles));
        fixed (float* to = y)
        {
            AmxPanelProduct.Run(weights, bias, firstOutput, end, padded, to, all, workspace.Data);
        }

        return y;
    }

    private sealed class Memory(long bytes) : IDisposable
    {
        private readonly NativeBlock _block = NativeBlock.Allocate(bytes);

        public byte* Data => _block.Pointer;

        public void Dispose() => _block.Release();
    }
}

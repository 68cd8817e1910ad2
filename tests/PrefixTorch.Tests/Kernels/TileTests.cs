using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;
using PrefixTorch.Model;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Products by tiles, where the processor multiplies bf16 or bytes: against their formula, and bit for bit against themselves.</summary>
public unsafe class TileTests
{
    // Odd widths, several K blocks, outputs that are no multiple of four, one row to many.
    private static readonly (int Rows, int Columns, int Outputs)[] s_shapes =
    [
        (1, 32, 4), (1, 40, 3), (2, 31, 5), (3, 576, 9), (6, 2048, 8), (7, 300, 6), (16, 2080, 33), (5, 4300, 4), (64, 257, 70), (70, 2200, 35),
    ];

    public static TheoryData<string> Sources => [nameof(TileSource.BFloat16), nameof(TileSource.Int8), nameof(TileSource.Int4)];

    [Theory]
    [MemberData(nameof(Sources))]
    public void ProductsAreThoseOfTheFormula(string kind)
    {
        TileSource source = Enum.Parse<TileSource>(kind);
        Assert.SkipUnless(TileCode.Supports(source), "This processor does not multiply such numbers, or the system allows no code made at run time.");
        foreach ((int rows, int columns, int outputs) in s_shapes)
        {
            using var weights = new Weights(source, outputs, columns, seed: 1);
            using var x = new Rows(source, rows, columns, seed: 2);
            using var bias = new Numbers(outputs, DType.Float32, seed: 3);
            float[] y = Multiply(weights, x, bias.Floats, 0, outputs, 0, rows);
            for (int r = 0; r < rows; r++)
            {
                for (int n = 0; n < outputs; n++)
                {
                    double expected = bias[n], size = Math.Abs(expected);
                    for (int k = 0; k < columns; k++)
                    {
                        double product = weights[n, k] * x[r, k];
                        expected += product;
                        size += Math.Abs(product);
                    }

                    Assert.Equal(expected, y[r * outputs + n], size * 1e-6);
                }
            }
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
            using var weights = new Weights(source, Outputs, columns, seed: 4);
            using var x = new Rows(source, Count, columns, seed: 5);
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
        using var x = new Rows(TileSource.BFloat16, 2, Columns, seed: 7);
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

    private static float[] Multiply(Weights weights, Rows x, float* bias, int firstOutput, int outputs, int firstRow, int rows)
    {
        var y = new float[rows * outputs];
        fixed (float* to = y)
        {
            TileProduct.Run(weights.Tiles, bias, firstOutput, firstOutput + outputs, x.Data + firstRow * x.Pitch, x.Pitch, rows, to, outputs);
        }

        return y;
    }

    /// <summary>Random weights of any kind, and what each of them means.</summary>
    private sealed class Weights : IDisposable
    {
        private readonly Numbers? _floats;
        private readonly NativeBlock _codes;
        private readonly NativeBlock _scales;
        private readonly double[] _values;
        private readonly int _columns;

        public Weights(TileSource source, int outputs, int columns, int seed)
        {
            var random = new Random(seed);
            WeightFormat format = source == TileSource.Int8 ? WeightFormat.Int8 : WeightFormat.Int4;
            long pitch = WeightMatrix.RowBytesOf(format, columns);
            _columns = columns;
            _values = new double[outputs * columns];
            _codes = NativeBlock.Allocate(outputs * pitch);
            _scales = NativeBlock.Allocate((long)outputs * sizeof(float));
            new Span<byte>(_codes.Pointer, (int)_codes.ByteCount).Clear();
            if (source == TileSource.BFloat16)
            {
                _floats = new Numbers(outputs * columns, DType.BFloat16, seed);
                _values = [.. Enumerable.Range(0, outputs * columns).Select(i => _floats[i])];
            }

            for (int n = 0; n < outputs && _floats is null; n++)
            {
                byte* row = _codes.Pointer + n * pitch;
                float scale = ((float*)_scales.Pointer)[n] = 0.25f + random.NextSingle();
                for (int k = 0; k < columns; k++)
                {
                    if (source == TileSource.Int8)
                    {
                        var code = (sbyte)random.Next(-127, 128);
                        ((sbyte*)row)[k] = code;
                        _values[n * columns + k] = code * (double)scale;
                    }
                    else
                    {
                        byte* block = row + k / CodeFormat.Int4Block * CodeFormat.Int4BlockBytes;
                        int code = random.Next(16), group = k % CodeFormat.Int4Block / CodeFormat.Group;
                        if (k % CodeFormat.Group == 0)
                        {
                            block[group] = (byte)random.Next(256);
                            block[CodeFormat.Groups + group] = (byte)random.Next(256);
                        }

                        (int word, int shift) = CodeFormat.Int4Place(k % CodeFormat.Int4Block);
                        ((uint*)(block + CodeFormat.Int4Header))[word] |= (uint)code << shift;
                        _values[n * columns + k] = (code - block[CodeFormat.Groups + group] / 16.0) * block[group] * block[group] * scale;
                    }
                }
            }

            Tiles = new TileWeights(source, (nint)(_floats is null ? _codes.Pointer : _floats.Data), _floats is null ? (nint)_scales.Pointer : 0, columns);
        }

        public TileWeights Tiles { get; }

        public double this[int output, int column] => _values[output * _columns + column];

        public void Dispose()
        {
            _floats?.Dispose();
            _codes.Release();
            _scales.Release();
        }
    }

    /// <summary>Random activations, laid for weights of one kind, and what each of them means.</summary>
    private sealed class Rows : IDisposable
    {
        private readonly Numbers _floats;
        private readonly NativeBlock _coded;
        private readonly CodedRows _rows;
        private readonly TileSource _source;
        private readonly int _columns;

        public Rows(TileSource source, int rows, int columns, int seed)
        {
            _source = source;
            _columns = columns;
            _floats = new Numbers(rows * columns, DType.BFloat16, seed);
            CodedOrder order = source == TileSource.Int4 ? CodedOrder.Groups : CodedOrder.Bytes;
            _coded = NativeBlock.Allocate(CodedRows.Bytes(order, rows, columns));
            _rows = new CodedRows(_coded.Pointer, order, rows, columns);
            for (int row = 0; row < rows && IsCoded; row++)
            {
                KernelSet.Current.EncodeActivations(DType.BFloat16, _floats.Data + (long)row * columns * sizeof(ushort), _rows, row);
            }

            Pitch = IsCoded ? _rows.Pitch : (long)columns * sizeof(ushort);
        }

        public byte* Data => IsCoded ? _coded.Pointer : _floats.Data;

        public long Pitch { get; }

        private bool IsCoded => _source != TileSource.BFloat16;

        public double this[int row, int column] =>
            IsCoded ? CodedActivationTests.Value(_rows, row, column) : _floats[row * _columns + column];

        public void Dispose()
        {
            _floats.Dispose();
            _coded.Release();
        }
    }
}

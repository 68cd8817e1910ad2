using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;
using PrefixTorch.Model;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Random weights of any kind, and what each of them means.</summary>
internal sealed unsafe class TileOperand : IDisposable
{
    private readonly Numbers? _floats;
    private readonly NativeBlock _codes;
    private readonly NativeBlock _scales;
    private readonly double[] _values;
    private readonly int _columns;

    public TileOperand(TileSource source, int outputs, int columns, int seed)
    {
        var random = new Random(seed);
        WeightFormat format = source == TileSource.Int8 ? WeightFormat.Int8 : WeightFormat.Int4;
        (long count, long pitch) = WeightMatrix.StoredShape(format, outputs, columns);
        _columns = columns;
        _values = new double[outputs * columns];
        _codes = NativeBlock.Allocate(count * pitch);
        _scales = NativeBlock.Allocate((long)outputs * sizeof(float));
        new Span<byte>(_codes.Pointer, (int)_codes.ByteCount).Clear();
        if (source == TileSource.BFloat16)
        {
            _floats = new Numbers(outputs * columns, DType.BFloat16, seed);
            _values = [.. Enumerable.Range(0, outputs * columns).Select(i => _floats[i])];
        }

        for (int n = 0; n < outputs && _floats is null; n++)
        {
            float scale = ((float*)_scales.Pointer)[n] = 0.25f + random.NextSingle();
            for (int k = 0; k < columns; k++)
            {
                if (source == TileSource.Int8)
                {
                    var code = (sbyte)random.Next(-127, 128);
                    ((sbyte*)_codes.Pointer)[(n * pitch) + k] = code;
                    _values[n * columns + k] = code * (double)scale;
                }
                else
                {
                    byte* panel = _codes.Pointer + (n / CodeFormat.Panel * pitch);
                    (long scales, long codes) = CodeFormat.GroupPlace(k / CodeFormat.Group);
                    int code = random.Next(16), lane = n % CodeFormat.Panel;
                    if (k % CodeFormat.Group == 0)
                    {
                        panel[scales + lane] = (byte)random.Next(256);
                        panel[scales + CodeFormat.Panel + lane] = (byte)random.Next(256);
                    }

                    (int word, int shift) = CodeFormat.Int4Place(lane, k % CodeFormat.Group);
                    ((uint*)(panel + codes))[word] |= (uint)code << shift;
                    _values[n * columns + k] = (code - panel[scales + CodeFormat.Panel + lane] / 16.0) * panel[scales + lane] * panel[scales + lane] * scale;
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
internal sealed unsafe class TileRows : IDisposable
{
    private readonly Numbers _floats;
    private readonly NativeBlock _coded;
    private readonly CodedRows _rows;
    private readonly TileSource _source;
    private readonly int _columns;

    public TileRows(TileSource source, int rows, int columns, int seed)
    {
        _source = source;
        _columns = columns;
        _floats = new Numbers(rows * columns, DType.BFloat16, seed);
        const CodedOrder order = CodedOrder.Bytes;
        _coded = NativeBlock.Allocate(CodedRows.Bytes(order, rows, columns));
        _rows = new CodedRows(_coded.Pointer, order, rows, columns);
        for (int row = 0; row < rows && IsCoded; row++)
        {
            KernelSet.Current.EncodeActivations(DType.BFloat16, _floats.Data + (long)row * columns * sizeof(ushort), _rows, row);
        }

        Pitch = IsCoded ? _rows.Pitch : (long)columns * sizeof(ushort);
    }

    public CodedRows Coded => _rows;

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

/// <summary>What a product must be: its formula in double precision.</summary>
internal static class ProductFormula
{
    /// <summary>Every element of <paramref name="y"/>, <c>[rows, outputs]</c>, within such a part of the size of its terms.</summary>
    public static void Check(float[] y, int rows, int outputs, int columns, Numbers bias, Func<int, int, double> weight, Func<int, int, double> x, double tolerance = 1e-6)
    {
        for (int r = 0; r < rows; r++)
        {
            for (int n = 0; n < outputs; n++)
            {
                double expected = bias[n], size = Math.Abs(expected);
                for (int k = 0; k < columns; k++)
                {
                    double product = weight(n, k) * x(r, k);
                    expected += product;
                    size += Math.Abs(product);
                }

                Assert.Equal(expected, y[(r * outputs) + n], size * tolerance);
            }
        }
    }
}

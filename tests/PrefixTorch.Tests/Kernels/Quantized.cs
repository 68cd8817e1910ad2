using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;
using PrefixTorch.Model;

namespace PrefixTorch.Tests.Kernels;

/// <summary>A matrix as quantization makes it.</summary>
internal sealed unsafe class Quantized : IDisposable
{
    private readonly NativeBlock _codes;
    private readonly NativeBlock _scales;
    private readonly int _rows;
    private readonly int _columns;
    private readonly WeightFormat _format;

    public Quantized(int rows, int columns, bool int4, int seed)
        : this(Random(rows * columns, seed), rows, columns, int4)
    {
    }

    public Quantized(float[] weights, int rows, int columns, bool int4)
    {
        Original = weights;
        (_rows, _columns, _format) = (rows, columns, int4 ? WeightFormat.Int4 : WeightFormat.Int8);
        (long count, long bytes) = WeightMatrix.StoredShape(_format, rows, columns);
        _codes = NativeBlock.Allocate(count * bytes);
        _scales = NativeBlock.Allocate((long)rows * sizeof(float));
        new Span<byte>(_codes.Pointer, (int)_codes.ByteCount).Clear();
        for (int row = 0; row < rows; row++)
        {
            ReadOnlySpan<float> values = weights.AsSpan(row * columns, columns);
            Scales[row] = int4
                ? QuantizeKernel.Int4(values, Codes + (row / CodeFormat.Panel * bytes), row % CodeFormat.Panel)
                : QuantizeKernel.Int8(values, (sbyte*)Codes + (row * bytes));
        }
    }

    public float[] Original { get; }

    public byte* Codes => _codes.Pointer;

    public float* Scales => (float*)_scales.Pointer;

    /// <summary>As products read it.</summary>
    public TileWeights Tiles => new(_format == WeightFormat.Int4 ? TileSource.Int4 : TileSource.Int8, (nint)Codes, (nint)Scales, _columns);

    public float[] Widen(KernelSet kernels)
    {
        using var matrix = new WeightMatrix("w", _format, _rows, _columns, _codes.Retain(), Codes, _scales.Retain(), Scales);
        var wide = new float[_rows * _columns];
        fixed (float* to = wide)
        {
            matrix.Widen(kernels, 0, _rows, DType.Float32, (byte*)to);
        }

        return wide;
    }

    public void Dispose()
    {
        _codes.Release();
        _scales.Release();
    }

    /// <summary>Numbers as weights and activations are: around zero, few of them large.</summary>
    public static float[] Random(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)((random.NextDouble() + random.NextDouble() + random.NextDouble()) / 1.5 - 1))];
    }
}

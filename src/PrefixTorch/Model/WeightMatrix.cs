using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Panels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Model;

/// <summary>How a matrix is held.</summary>
public enum WeightFormat
{
    /// <summary>Floating point numbers.</summary>
    Float,

    /// <summary>Signed bytes with one scale for each output channel.</summary>
    Int8,

    /// <summary>Four bits with a scale and a zero point for each 32 of a row.</summary>
    Int4,
}

/// <summary>
/// A matrix <c>[Rows, Columns]</c> of a checkpoint, row-major, as it is held in memory: often a view of the mapped file. It knows its own
/// storage, so that no model code asks for a dtype.
/// </summary>
/// <remarks>Immutable. Holds its blocks until disposed, by the weights that own it.</remarks>
internal sealed unsafe class WeightMatrix : IDisposable
{
    private readonly NativeBlock _block;
    private readonly NativeBlock? _scalesBlock;
    private readonly float* _scales;
    private torch.Tensor? _tensor;

    /// <summary>A matrix of floats at <paramref name="data"/> in <paramref name="block"/>; takes over the caller's hold on the block.</summary>
    public WeightMatrix(string name, DType dtype, int rows, int columns, NativeBlock block, byte* data)
    {
        Name = name;
        DType = dtype;
        Rows = rows;
        Columns = columns;
        _block = block;
        Data = data;
    }

    /// <summary>
    /// A matrix of codes, as <see cref="CodeFormat"/> lays them; <paramref name="scales"/> are fp32 <c>[N]</c>.
    /// Takes over the caller's hold on both blocks.
    /// </summary>
    public WeightMatrix(string name, WeightFormat format, int rows, int columns, NativeBlock block, byte* data, NativeBlock scalesBlock, float* scales)
        : this(name, format == WeightFormat.Int8 ? DType.Int8 : DType.UInt8, rows, columns, block, data)
    {
        Format = format;
        _scalesBlock = scalesBlock;
        _scales = scales;
    }

    /// <summary>The tensor's name in the checkpoint.</summary>
    public string Name { get; }

    /// <summary>Floats or codes.</summary>
    public WeightFormat Format { get; }

    /// <summary>How the elements are stored; of codes, the type of the bytes that hold them.</summary>
    public DType DType { get; }

    /// <summary>Outputs of the product, or entries of an embedding (N).</summary>
    public int Rows { get; }

    /// <summary>Inputs of the product, or the width of an embedding (K).</summary>
    public int Columns { get; }

    /// <summary>The first element.</summary>
    public byte* Data { get; }

    /// <summary>Bytes of a row's elements or codes, where rows lie one behind the other: not of int4.</summary>
    public long RowBytes => Format == WeightFormat.Int8 ? CodeFormat.Int8Blocks(Columns) * CodeFormat.Int8Block : (long)Columns * DType.Size();

    /// <summary>Bytes of the matrix, its scales included: what a product of few rows reads.</summary>
    public long ByteCount => Format == WeightFormat.Float ? Rows * RowBytes : CodeBytes(Format, Rows, Columns) + ((long)Rows * sizeof(float));

    /// <summary>What a tensor of these weights holds at least: the dtype of floats, bf16 for codes.</summary>
    public DType ComputeDType => Format == WeightFormat.Float ? DType : DType.BFloat16;

    /// <summary>A matrix of floats as libtorch sees it, <c>[Rows, Columns]</c> on the CPU, over the same memory. Owned by this object.</summary>
    public torch.Tensor Tensor => _tensor ??= NativeTensor.Over(Data, DType, Rows, Columns).DetachFromDisposeScope();

    /// <summary>The shape of the bytes that codes of a matrix are stored as: of int8 rows, of int4 panels.</summary>
    public static (long Count, long Bytes) StoredShape(WeightFormat format, int rows, int columns) => format == WeightFormat.Int4
        ? (CodeFormat.Panels(rows), CodeFormat.PanelBytes(columns))
        : (rows, CodeFormat.Int8Blocks(columns) * CodeFormat.Int8Block);

    /// <summary>Bytes of a matrix's codes.</summary>
    public static long CodeBytes(WeightFormat format, int rows, int columns)
    {
        (long count, long bytes) = StoredShape(format, rows, columns);
        return count * bytes;
    }

    /// <summary><c>y = x Wᵀ + b</c> for few rows of floats, outputs <paramref name="first"/> … <paramref name="end"/> − 1.</summary>
    public void Multiply(KernelSet kernels, float* bias, int first, int end, float* x, int xStride, int rows, float* y, int yStride) =>
        kernels.Linear(DType, Data, bias, Columns, first, end, x, xStride, rows, y, yStride);

    /// <summary>The same for any number of rows; the outputs, a group at most, and the workspace are as <see cref="ProductShape"/> says.</summary>
    public void Multiply(KernelSet kernels, float* bias, int first, int end, float* x, int xStride, int rows, float* y, int yStride, byte* workspace) =>
        kernels.Product(DType, Data, bias, Columns, first, end, x, xStride, rows, y, yStride, workspace);

    /// <summary>The product by int8, for any number of rows that were encoded for it.</summary>
    public void Multiply(KernelSet kernels, float* bias, int first, int end, CodedRows x, float* y, int yStride) => kernels.LinearInt8(Data, _scales, bias, first, end, x, y, yStride);

    /// <summary>The product by int4, likewise; outputs begin where a panel does.</summary>
    public void Multiply(KernelSet kernels, float* bias, int first, int end, GroupRows x, float* y, int yStride) => kernels.LinearInt4(Tiles, bias, first, end, x, y, yStride);

    /// <summary>What tiles read here.</summary>
    public TileSource TileSource => Format switch
    {
        WeightFormat.Int8 => TileSource.Int8,
        WeightFormat.Int4 => TileSource.Int4,
        _ => TileSource.BFloat16,
    };

    /// <summary>The matrix as products by tiles read it.</summary>
    public TileWeights Tiles => new(TileSource, (nint)Data, (nint)_scales, Columns);

    /// <summary>Rows <paramref name="first"/> … as fp32 or bf16, <c>[count, Columns]</c>.</summary>
    public void Widen(KernelSet kernels, int first, int count, DType toType, byte* to)
    {
        for (int row = first; row < first + count; row++, to += (long)Columns * toType.Size())
        {
            switch (Format)
            {
                case WeightFormat.Int4:
                    kernels.WidenInt4(Data + (row / CodeFormat.Panel * CodeFormat.PanelBytes(Columns)), row % CodeFormat.Panel, _scales[row], Columns, toType, to);
                    break;
                case WeightFormat.Int8:
                    kernels.WidenInt8((sbyte*)Data + (row * RowBytes), _scales[row], Columns, toType, to);
                    break;
                default:
                    kernels.Convert(DType, Data + (row * RowBytes), toType, to, Columns);
                    break;
            }
        }
    }

    /// <summary>Lets go of the memory.</summary>
    public void Dispose()
    {
        _tensor?.Dispose();
        _block.Release();
        _scalesBlock?.Release();
    }
}

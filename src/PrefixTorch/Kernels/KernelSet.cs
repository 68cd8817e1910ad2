using System.Runtime.Intrinsics;
using PrefixTorch.Kernels.Panels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;

namespace PrefixTorch.Kernels;

/// <summary>The kernels of one instruction set, for elements of any floating point type: where types known at run time meet compiled code.</summary>
internal abstract unsafe class KernelSet
{
    /// <summary>The kernels that this process uses.</summary>
    public static KernelSet Current { get; } = For(Cpu.Isa);

    /// <summary>The instruction set.</summary>
    public abstract Isa Isa { get; }

    /// <inheritdoc cref="LinearKernel{TVectors, TVector, TElement}.MostRows"/>
    public abstract int StreamedRows(DType type);

    /// <summary>Whether weights of this kind are multiplied by tiles.</summary>
    public bool HasTiles(TileSource source) => Isa >= Isa.Avx512 && TileCode.Supports(source);

    /// <summary>Whether the processor multiplies whole tiles, and this set does.</summary>
    public bool HasAmx => Isa == Isa.Amx && HasTiles(TileSource.BFloat16) && HasTiles(TileSource.Int8);

    /// <summary>How activations stand for products with int8.</summary>
    public CodedOrder Order => HasTiles(TileSource.Int8) ? CodedOrder.Bytes : VectorOrder;

    /// <inheritdoc cref="IByteProducts{TVector}.Order"/>
    public abstract CodedOrder VectorOrder { get; }

    /// <summary>The kernels of one instruction set, which the machine must have.</summary>
    public static KernelSet For(Isa isa) => isa switch
    {
        Isa.Avx512 or Isa.Amx => new KernelSet<WordProducts<Vectors512, Vector512<float>>, Vectors512, Vector512<float>>(isa),
        Isa.AvxVnni => new KernelSet<VnniProducts, Vectors256, Vector256<float>>(isa),
        Isa.Avx2 => new KernelSet<WordProducts<Vectors256, Vector256<float>>, Vectors256, Vector256<float>>(isa),
        _ => new KernelSet<WordProducts<Vectors128, Vector128<float>>, Vectors128, Vector128<float>>(isa),
    };

    /// <inheritdoc cref="LinearKernel{TVectors, TVector, TElement}.Run"/>
    public abstract void Linear(DType type, byte* weight, float* bias, int columns, int first, int end, float* x, int xStride, int rows, float* y, int yStride);

    /// <inheritdoc cref="BlockedProduct{TVectors, TVector, TElement}.Run"/>
    public abstract void Product(DType type, byte* weight, float* bias, int columns, int first, int end, float* x, int xStride, int rows, float* y, int yStride, byte* workspace);

    /// <inheritdoc cref="CodedActivations{TVectors, TVector}.Encode"/>
    public abstract void EncodeActivations(DType type, byte* x, CodedRows to, int row);

    /// <inheritdoc cref="GroupRows.Fill"/>
    public abstract void EncodeActivations(DType type, byte* x, GroupRows to, int row, int chunk);

    /// <summary>Rounds a whole row.</summary>
    public void EncodeActivations(DType type, byte* x, GroupRows to, int row)
    {
        for (int chunk = 0; chunk < to.Chunks; chunk++)
        {
            EncodeActivations(type, x, to, row, chunk);
        }
    }

    /// <inheritdoc cref="Int8Kernel{TProducts, TVectors, TVector}.Run"/>
    public abstract void LinearInt8(byte* codes, float* scales, float* bias, int first, int end, CodedRows x, float* y, int yStride);

    /// <inheritdoc cref="PanelProduct{TTile}.Run"/>
    public abstract void LinearInt4(TileWeights w, float* bias, int first, int end, GroupRows x, float* y, int yStride);

    /// <inheritdoc cref="CodeWidening{TVectors, TVector}.Int4"/>
    public abstract void WidenInt4(byte* panel, int n, float scale, int columns, DType toType, byte* to);

    /// <inheritdoc cref="CodeWidening{TVectors, TVector}.Int8"/>
    public abstract void WidenInt8(sbyte* codes, float scale, int columns, DType toType, byte* to);

    /// <inheritdoc cref="RowQuantizer{TVectors, TVector, TElement}.Quantize"/>
    public abstract float QuantizeInt8(float* from, int count, sbyte* to);

    /// <inheritdoc cref="RowQuantizer{TVectors, TVector, TElement}.QuantizeRows"/>
    public abstract RoundingError QuantizeInt8Rows(DType fromType, byte* from, long rows, int width, sbyte* to, float* scales);

    /// <inheritdoc cref="RowQuantizer{TVectors, TVector, TElement}.WidenRows"/>
    public abstract void WidenInt8Rows(sbyte* from, float* scales, long rows, int width, DType toType, byte* to);

    /// <inheritdoc cref="RowKernels{TVectors, TVector}.Convert"/>
    public abstract void Convert(DType fromType, byte* from, DType toType, byte* to, long count);

    /// <inheritdoc cref="RowKernels{TVectors, TVector}.Add"/>
    public abstract void Add(float* x, DType type, byte* y, long count);

    /// <inheritdoc cref="RowKernels{TVectors, TVector}.RmsNorm"/>
    public abstract void RmsNorm(float* x, float* weight, int columns, float epsilon, DType toType, byte* to);

    /// <inheritdoc cref="RowKernels{TVectors, TVector}.SwiGlu"/>
    public abstract void SwiGlu(float* gate, float* up, int columns, DType toType, byte* to);

    /// <inheritdoc cref="RowKernels{TVectors, TVector}.Rotate"/>
    public abstract void Rotate(DType fromType, byte* from, float* cos, float* sin, int headDim, float scale, DType toType, byte* to);

    /// <summary>
    /// See <see cref="AttentionKernel{TVectors, TVector, TElement}.Partials"/>. <paramref name="inBFloat16"/> allows queries and weights to be rounded to
    /// bf16, which is done where the processor multiplies it and the cache's numbers are exact in it.
    /// </summary>
    public abstract void AttentionPartials(DType type, bool inBFloat16, KeyValueRun* runs, AttentionQuery* queries, int count, int headDim);

    /// <inheritdoc cref="AttentionMerge{TVectors, TVector}.Run"/>
    public abstract void AttentionMerge(float* partials, long stride, int count, int headDim, float* to);

    private protected static PrefixTorchException NoKernel(DType type) => new($"No kernel computes with {type.Name()} elements; hold them as float32, bfloat16 or float16.");
}

/// <inheritdoc cref="KernelSet"/>
internal sealed unsafe class KernelSet<TProducts, TVectors, TVector>(Isa isa) : KernelSet
    where TProducts : struct, IByteProducts<TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    public override Isa Isa => isa;

    public override CodedOrder VectorOrder => TProducts.Order;

    public override int StreamedRows(DType type) => type switch
    {
        DType.Float32 => LinearKernel<TVectors, TVector, Float32Element>.MostRows,
        DType.BFloat16 => LinearKernel<TVectors, TVector, BFloat16Element>.MostRows,
        DType.Float16 => LinearKernel<TVectors, TVector, Float16Weight>.MostRows,
        _ => throw NoKernel(type),
    };

    public override void Linear(DType type, byte* weight, float* bias, int columns, int first, int end, float* x, int xStride, int rows, float* y, int yStride)
    {
        switch (type)
        {
            case DType.Float32:
                LinearKernel<TVectors, TVector, Float32Element>.Run(weight, bias, columns, first, end, x, xStride, rows, y, yStride);
                break;
            case DType.BFloat16:
                LinearKernel<TVectors, TVector, BFloat16Element>.Run(weight, bias, columns, first, end, x, xStride, rows, y, yStride);
                break;
            case DType.Float16:
                LinearKernel<TVectors, TVector, Float16Weight>.Run(weight, bias, columns, first, end, x, xStride, rows, y, yStride);
                break;
            default:
                throw NoKernel(type);
        }
    }

    public override void Product(DType type, byte* weight, float* bias, int columns, int first, int end, float* x, int xStride, int rows, float* y, int yStride, byte* workspace)
    {
        switch (type)
        {
            case DType.Float32:
                BlockedProduct<TVectors, TVector, Float32Element>.Run(weight, bias, columns, first, end, x, xStride, rows, y, yStride, workspace);
                break;
            case DType.BFloat16:
                BlockedProduct<TVectors, TVector, BFloat16Element>.Run(weight, bias, columns, first, end, x, xStride, rows, y, yStride, workspace);
                break;
            case DType.Float16:
                BlockedProduct<TVectors, TVector, Float16Weight>.Run(weight, bias, columns, first, end, x, xStride, rows, y, yStride, workspace);
                break;
            default:
                throw NoKernel(type);
        }
    }

    public override void EncodeActivations(DType type, byte* x, CodedRows to, int row)
    {
        switch (type)
        {
            case DType.Float32:
                CodedActivations<TVectors, TVector>.Encode<Float32Element>(x, to, row);
                break;
            case DType.BFloat16:
                CodedActivations<TVectors, TVector>.Encode<BFloat16Element>(x, to, row);
                break;
            default:
                throw NoKernel(type);
        }
    }

    public override void EncodeActivations(DType type, byte* x, GroupRows to, int row, int chunk)
    {
        switch (type)
        {
            case DType.Float32:
                to.Fill<TVectors, TVector, Float32Element>(row, chunk, x);
                break;
            case DType.BFloat16:
                to.Fill<TVectors, TVector, BFloat16Element>(row, chunk, x);
                break;
            default:
                throw NoKernel(type);
        }
    }

    public override void LinearInt8(byte* codes, float* scales, float* bias, int first, int end, CodedRows x, float* y, int yStride) =>
        Int8Kernel<TProducts, TVectors, TVector>.Run(codes, scales, bias, first, end, x, y, yStride);

    public override void LinearInt4(TileWeights w, float* bias, int first, int end, GroupRows x, float* y, int yStride)
    {
        if (HasTiles(TileSource.Int4))
        {
            PanelProduct<ByteTile>.Run(w, bias, first, end, x, y, yStride);
        }
        else
        {
            PanelProduct<VectorTile<TProducts, TVectors, TVector>>.Run(w, bias, first, end, x, y, yStride);
        }
    }

    public override void WidenInt4(byte* panel, int n, float scale, int columns, DType toType, byte* to)
    {
        switch (toType)
        {
            case DType.Float32:
                CodeWidening<TVectors, TVector>.Int4<Float32Element>(panel, n, scale, columns, to);
                break;
            case DType.BFloat16:
                CodeWidening<TVectors, TVector>.Int4<BFloat16Element>(panel, n, scale, columns, to);
                break;
            default:
                throw NoKernel(toType);
        }
    }

    public override void WidenInt8(sbyte* codes, float scale, int columns, DType toType, byte* to)
    {
        switch (toType)
        {
            case DType.Float32:
                CodeWidening<TVectors, TVector>.Int8<Float32Element>(codes, scale, columns, to);
                break;
            case DType.BFloat16:
                CodeWidening<TVectors, TVector>.Int8<BFloat16Element>(codes, scale, columns, to);
                break;
            case DType.Float16:
                CodeWidening<TVectors, TVector>.Int8<Float16Element>(codes, scale, columns, to);
                break;
            default:
                throw NoKernel(toType);
        }
    }

    public override float QuantizeInt8(float* from, int count, sbyte* to) => RowQuantizer<TVectors, TVector, Float32Element>.Quantize((byte*)from, count, to);

    public override RoundingError QuantizeInt8Rows(DType fromType, byte* from, long rows, int width, sbyte* to, float* scales) => fromType switch
    {
        DType.Float32 => RowQuantizer<TVectors, TVector, Float32Element>.QuantizeRows(from, rows, width, to, scales),
        DType.BFloat16 => RowQuantizer<TVectors, TVector, BFloat16Element>.QuantizeRows(from, rows, width, to, scales),
        DType.Float16 => RowQuantizer<TVectors, TVector, Float16Element>.QuantizeRows(from, rows, width, to, scales),
        _ => throw NoKernel(fromType),
    };

    public override void WidenInt8Rows(sbyte* from, float* scales, long rows, int width, DType toType, byte* to)
    {
        switch (toType)
        {
            case DType.Float32:
                RowQuantizer<TVectors, TVector, Float32Element>.WidenRows(from, scales, rows, width, to);
                break;
            case DType.BFloat16:
                RowQuantizer<TVectors, TVector, BFloat16Element>.WidenRows(from, scales, rows, width, to);
                break;
            case DType.Float16:
                RowQuantizer<TVectors, TVector, Float16Element>.WidenRows(from, scales, rows, width, to);
                break;
            default:
                throw NoKernel(toType);
        }
    }

    public override void Convert(DType fromType, byte* from, DType toType, byte* to, long count)
    {
        if (fromType == toType)
        {
            long bytes = count * fromType.Size();
            Buffer.MemoryCopy(from, to, bytes, bytes);
            return;
        }

        switch (fromType, toType)
        {
            case (DType.BFloat16, DType.Float32):
                RowKernels<TVectors, TVector>.Convert<BFloat16Element, Float32Element>(from, to, count);
                break;
            case (DType.Float16, DType.Float32):
                RowKernels<TVectors, TVector>.Convert<Float16Element, Float32Element>(from, to, count);
                break;
            case (DType.Float32, DType.BFloat16):
                RowKernels<TVectors, TVector>.Convert<Float32Element, BFloat16Element>(from, to, count);
                break;
            case (DType.Float32, DType.Float16):
                RowKernels<TVectors, TVector>.Convert<Float32Element, Float16Element>(from, to, count);
                break;
            case (DType.BFloat16, DType.Float16):
                RowKernels<TVectors, TVector>.Convert<BFloat16Element, Float16Element>(from, to, count);
                break;
            case (DType.Float16, DType.BFloat16):
                RowKernels<TVectors, TVector>.Convert<Float16Element, BFloat16Element>(from, to, count);
                break;
            default:
                throw NoKernel(fromType is DType.Float32 or DType.BFloat16 or DType.Float16 ? toType : fromType);
        }
    }

    public override void Add(float* x, DType type, byte* y, long count)
    {
        switch (type)
        {
            case DType.Float32:
                RowKernels<TVectors, TVector>.Add<Float32Element>(x, y, count);
                break;
            case DType.BFloat16:
                RowKernels<TVectors, TVector>.Add<BFloat16Element>(x, y, count);
                break;
            default:
                throw NoKernel(type);
        }
    }

    public override void RmsNorm(float* x, float* weight, int columns, float epsilon, DType toType, byte* to)
    {
        switch (toType)
        {
            case DType.Float32:
                RowKernels<TVectors, TVector>.RmsNorm<Float32Element>(x, weight, columns, epsilon, to);
                break;
            case DType.BFloat16:
                RowKernels<TVectors, TVector>.RmsNorm<BFloat16Element>(x, weight, columns, epsilon, to);
                break;
            default:
                throw NoKernel(toType);
        }
    }

    public override void SwiGlu(float* gate, float* up, int columns, DType toType, byte* to)
    {
        switch (toType)
        {
            case DType.Float32:
                RowKernels<TVectors, TVector>.SwiGlu<Float32Element>(gate, up, columns, to);
                break;
            case DType.BFloat16:
                RowKernels<TVectors, TVector>.SwiGlu<BFloat16Element>(gate, up, columns, to);
                break;
            default:
                throw NoKernel(toType);
        }
    }

    public override void Rotate(DType fromType, byte* from, float* cos, float* sin, int headDim, float scale, DType toType, byte* to)
    {
        switch (fromType, toType)
        {
            case (DType.Float32, DType.Float32):
                RowKernels<TVectors, TVector>.Rotate<Float32Element, Float32Element>(from, cos, sin, headDim, scale, to);
                break;
            case (DType.Float32, DType.BFloat16):
                RowKernels<TVectors, TVector>.Rotate<Float32Element, BFloat16Element>(from, cos, sin, headDim, scale, to);
                break;
            case (DType.Float32, DType.Float16):
                RowKernels<TVectors, TVector>.Rotate<Float32Element, Float16Element>(from, cos, sin, headDim, scale, to);
                break;
            case (DType.BFloat16, DType.Float32):
                RowKernels<TVectors, TVector>.Rotate<BFloat16Element, Float32Element>(from, cos, sin, headDim, scale, to);
                break;
            case (DType.BFloat16, DType.BFloat16):
                RowKernels<TVectors, TVector>.Rotate<BFloat16Element, BFloat16Element>(from, cos, sin, headDim, scale, to);
                break;
            case (DType.BFloat16, DType.Float16):
                RowKernels<TVectors, TVector>.Rotate<BFloat16Element, Float16Element>(from, cos, sin, headDim, scale, to);
                break;
            default:
                throw NoKernel(fromType is DType.Float32 or DType.BFloat16 ? toType : fromType);
        }
    }

    public override void AttentionPartials(DType type, bool inBFloat16, KeyValueRun* runs, AttentionQuery* queries, int count, int headDim)
    {
        inBFloat16 &= HasTiles(TileSource.BFloat16) && PairAttention<BFloat16Element>.Supports(headDim);
        switch (type)
        {
            case DType.BFloat16 when inBFloat16:
                PairAttention<BFloat16Element>.Partials(runs, queries, count, headDim, HasAmx);
                break;
            case DType.Int8 when inBFloat16:
                PairAttention<Int8Element>.Partials(runs, queries, count, headDim, HasAmx);
                break;
            case DType.Float32:
                AttentionKernel<TVectors, TVector, Float32Element>.Partials(runs, queries, count, headDim);
                break;
            case DType.BFloat16:
                AttentionKernel<TVectors, TVector, BFloat16Element>.Partials(runs, queries, count, headDim);
                break;
            case DType.Float16:
                AttentionKernel<TVectors, TVector, Float16Element>.Partials(runs, queries, count, headDim);
                break;
            case DType.Int8:
                AttentionKernel<TVectors, TVector, Int8Element>.Partials(runs, queries, count, headDim);
                break;
            default:
                throw NoKernel(type);
        }
    }

    public override void AttentionMerge(float* partials, long stride, int count, int headDim, float* to) =>
        AttentionMerge<TVectors, TVector>.Run(partials, stride, count, headDim, to);
}

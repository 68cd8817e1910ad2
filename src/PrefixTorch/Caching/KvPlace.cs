using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>Where rows of keys or values lie in host memory, one after another, with as many scales where they are 8 bits.</summary>
/// <param name="dtype">What they are stored as.</param>
/// <param name="numbers">The first row.</param>
/// <param name="scales">Its scale; null where they are floating-point numbers.</param>
internal readonly unsafe struct KvPlace(DType dtype, byte* numbers, float* scales)
{
    /// <summary>The first row.</summary>
    public byte* Numbers => numbers;

    /// <summary>Its scale, or null.</summary>
    public float* Scales => scales;

    private DType DType => dtype;

    /// <summary>Copies rows of <paramref name="width"/> numbers, converted to what the target is stored as.</summary>
    public void CopyTo(KvPlace to, long rows, int width, KernelSet kernels)
    {
        if (dtype == to.DType)
        {
            Copy(numbers, to.Numbers, rows * width * dtype.Size());
            Copy((byte*)scales, (byte*)to.Scales, scales == null ? 0 : rows * sizeof(float));
        }
        else if (dtype == DType.Int8)
        {
            kernels.WidenInt8Rows((sbyte*)numbers, scales, rows, width, to.DType, to.Numbers);
        }
        else if (to.DType == DType.Int8)
        {
            QuantizeTo(to, rows, width, kernels);
        }
        else
        {
            kernels.Convert(dtype, numbers, to.DType, to.Numbers, rows * width);
        }
    }

    /// <summary>Quantizes rows of <paramref name="width"/> floating-point numbers, and gives the rounding error.</summary>
    public RoundingError QuantizeTo(KvPlace to, long rows, int width, KernelSet kernels) => kernels.QuantizeInt8Rows(dtype, numbers, rows, width, (sbyte*)to.Numbers, to.Scales);

    /// <summary>Among <paramref name="count"/> floating-point numbers the first one that is beyond a magnitude, or no number.</summary>
    public float FirstBeyond(float magnitude, long start, int count)
    {
        var wide = new float[count];
        fixed (float* to = wide)
        {
            KernelSet.Current.Convert(dtype, numbers + start * dtype.Size(), DType.Float32, (byte*)to, count);
        }

        return Array.Find(wide, number => !(MathF.Abs(number) <= magnitude));
    }

    private static void Copy(byte* from, byte* to, long bytes) => Buffer.MemoryCopy(from, to, bytes, bytes);
}

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
            for (long row = 0; row < rows; row++)
            {
                kernels.WidenInt8((sbyte*)numbers + row * width, scales[row], width, to.DType, to.Numbers + row * width * to.DType.Size());
            }
        }
        else if (to.DType == DType.Int8)
        {
            fixed (float* wide = new float[width])
            {
                for (long row = 0; row < rows; row++)
                {
                    kernels.Convert(dtype, numbers + row * width * dtype.Size(), DType.Float32, (byte*)wide, width);
                    to.Scales[row] = kernels.QuantizeInt8(wide, width, (sbyte*)to.Numbers + row * width);
                }
            }
        }
        else
        {
            kernels.Convert(dtype, numbers, to.DType, to.Numbers, rows * width);
        }
    }

    private static void Copy(byte* from, byte* to, long bytes) => Buffer.MemoryCopy(from, to, bytes, bytes);
}

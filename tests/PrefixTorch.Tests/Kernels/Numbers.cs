using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Random numbers in native memory, exactly as their dtype holds them.</summary>
internal sealed unsafe class Numbers : IDisposable
{
    private readonly NativeBlock _block;
    private readonly DType _dtype;

    public Numbers(int count, DType dtype, int seed)
    {
        _dtype = dtype;
        _block = NativeBlock.Allocate(count * dtype.Size());
        var random = new Random(seed);
        for (int i = 0; i < count; i++)
        {
            float value = (float)(random.NextDouble() * 2 - 1);
            switch (dtype)
            {
                case DType.Float32:
                    Float32Element.Store(value, Data + 4 * i);
                    break;
                case DType.BFloat16:
                    BFloat16Element.Store(value, Data + 2 * i);
                    break;
                default:
                    Float16Element.Store(value, Data + 2 * i);
                    break;
            }
        }
    }

    public byte* Data => _block.Pointer;

    public float* Floats => (float*)_block.Pointer;

    public double this[int i] => _dtype switch
    {
        DType.Float32 => Float32Element.Load(Data + 4 * i),
        DType.BFloat16 => BFloat16Element.Load(Data + 2 * i),
        _ => Float16Element.Load(Data + 2 * i),
    };

    public void Dispose() => _block.Release();
}

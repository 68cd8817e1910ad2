using BenchmarkDotNet.Attributes;
using PrefixTorch.Memory;

namespace PrefixTorch.KernelBenchmark;

/// <summary>What happens to one row between two products, by one thread; all of it lies in the first level of the cache.</summary>
public unsafe class Rows : KernelBenchmark
{
    private const int HiddenSize = 2048, IntermediateSize = 8192, HeadDim = 64;

    private float* _x;
    private float* _y;
    private float* _weight;

    [GlobalSetup]
    public void Setup()
    {
        _x = (float*)Numbers(DType.Float32, 2 * IntermediateSize);
        _y = (float*)Take(IntermediateSize * sizeof(float)).Pointer;
        _weight = (float*)Numbers(DType.Float32, HiddenSize);
    }

    [Benchmark]
    public void Norm() => Kernels.RmsNorm(_x, _weight, HiddenSize, 1e-5f, DType.Float32, (byte*)_y);

    [Benchmark]
    public void Rope() => Kernels.Rotate(DType.Float32, (byte*)_x, _weight, _weight + (HeadDim / 2), HeadDim, 1, DType.BFloat16, (byte*)_y);

    [Benchmark]
    public void SwiGlu() => Kernels.SwiGlu(_x, _x + IntermediateSize, IntermediateSize, DType.Float32, (byte*)_y);

    internal override Work WorkOf(string benchmark) => benchmark switch
    {
        nameof(Norm) => new(2 * HiddenSize * sizeof(float), 4 * HiddenSize),
        nameof(Rope) => new(2 * HeadDim * sizeof(float), 3 * HeadDim),
        _ => new(2 * IntermediateSize * sizeof(float), 4 * IntermediateSize),
    };
}

using BenchmarkDotNet.Attributes;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.KernelBenchmark;

/// <summary>Kernels of one instruction set, and the memory that they work on.</summary>
public abstract unsafe class KernelBenchmark
{
    private readonly List<NativeBlock> _blocks = [];
    private readonly Random _random = new(1);

    /// <summary>The paths of this machine.</summary>
    public static IEnumerable<string> Isas => Cpu.Available.Select(isa => isa.ToString().ToLowerInvariant());

    [ParamsSource(nameof(Isas))]
    public string Isa { get; set; } = "";

    private protected KernelSet Kernels => KernelSet.For(Enum.Parse<Isa>(Isa, ignoreCase: true));

    /// <summary>What one call of a benchmark does.</summary>
    internal abstract Work WorkOf(string benchmark);

    [GlobalCleanup]
    public virtual void Cleanup()
    {
        _blocks.ForEach(block => block.Release());
        _blocks.Clear();
    }

    /// <summary>Memory that lives until the benchmark ends.</summary>
    private protected NativeBlock Take(long bytes)
    {
        NativeBlock block = NativeBlock.Allocate(bytes);
        _blocks.Add(block);
        return block;
    }

    /// <summary>Ordinary numbers, between −1 and 1.</summary>
    private protected byte* Numbers(DType dtype, long count)
    {
        NativeBlock wide = NativeBlock.Allocate(count * sizeof(float));
        for (long i = 0; i < count; i++)
        {
            ((float*)wide.Pointer)[i] = (_random.NextSingle() * 2) - 1;
        }

        byte* numbers = Take(count * dtype.Size()).Pointer;
        KernelSet.Current.Convert(DType.Float32, wide.Pointer, dtype, numbers, count);
        wide.Release();
        return numbers;
    }
}

using BenchmarkDotNet.Attributes;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.KernelBenchmark;

/// <summary>Attention of one new token over 2,048: heads and blocks of keys shared out over the threads, and merged.</summary>
public unsafe class Attention : KernelBenchmark
{
    private const int Length = 2048, Heads = 32, KvHeads = 8, HeadDim = 64, BlockSize = 256, Blocks = Length / BlockSize, Stride = HeadDim + 2;

    private KernelPool? _pool;
    private float* _query;
    private byte* _keys;
    private byte* _values;
    private float* _partials;
    private float* _y;

    [Params("float32", "bfloat16", "float16")]
    public string Cache { get; set; } = "";

    private DType DType => Enum.Parse<DType>(Cache, ignoreCase: true);

    [GlobalSetup]
    public void Setup()
    {
        _pool = new KernelPool(Environment.ProcessorCount);
        _query = (float*)Numbers(DType.Float32, Heads * HeadDim);
        _keys = Numbers(DType, (long)KvHeads * Length * HeadDim);
        _values = Numbers(DType, (long)KvHeads * Length * HeadDim);
        _partials = (float*)Take((long)Heads * Blocks * Stride * sizeof(float)).Pointer;
        _y = (float*)Take(Heads * HeadDim * sizeof(float)).Pointer;
    }

    public override void Cleanup()
    {
        _pool?.Dispose();
        base.Cleanup();
    }

    [Benchmark]
    public void Attend()
    {
        var job = new Job { Of = this, Kernels = Kernels };
        _pool!.Run(KvHeads * Blocks, ref job);
        for (int head = 0; head < Heads; head++)
        {
            Kernels.AttentionMerge(_partials + (head * Blocks * Stride), Stride, Blocks, HeadDim, _y + (head * HeadDim));
        }
    }

    internal override Work WorkOf(string benchmark) => new(2.0 * KvHeads * Length * HeadDim * DType.Size(), 4.0 * Heads * Length * HeadDim);

    private struct Job : IBlockJob
    {
        public Attention Of;
        public KernelSet Kernels;

        public readonly void Run(int item)
        {
            int kvHead = item / Blocks, block = item % Blocks;
            long first = ((long)kvHead * Length + (block * BlockSize)) * HeadDim * Of.DType.Size();
            var run = new KeyValueRun { Keys = Of._keys + first, Values = Of._values + first, Count = BlockSize };
            AttentionQuery* queries = stackalloc AttentionQuery[Heads / KvHeads];
            for (int i = 0; i < Heads / KvHeads; i++)
            {
                int head = kvHead * Heads / KvHeads + i;
                queries[i] = new() { Values = Of._query + (head * HeadDim), Partial = Of._partials + ((head * Blocks + block) * Stride), Limit = BlockSize };
            }

            Kernels.AttentionPartials(Of.DType, inBFloat16: true, &run, queries, Heads / KvHeads, HeadDim);
        }
    }
}

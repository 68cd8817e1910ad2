using PrefixTorch.Caching;
using PrefixTorch.Configuration;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Model.Operations;

/// <summary>
/// The operations for the CPU: kernels in C#, and libtorch's products in bf16 where many rows meet the weights.
/// </summary>
/// <remarks>
/// <para>
/// The residual stream is always fp32. In a step of few rows everything is, and weights are widened in registers. In a step of many rows,
/// products run in bf16 where the weights are bf16 and the processor multiplies bf16; elsewhere in fp32, where a row of a product by floats has
/// the bits that a step of few rows gives it.
/// </para>
/// <para>In a step of few rows a row's bits depend on its own sequence alone.</para>
/// </remarks>
internal sealed unsafe partial class HostOperations : IOperations<HostRows>
{
    /// <summary>Weights widened at a time, where products meet codes in bf16: some 4 MB, which the caches hold in part.</summary>
    private const int WidenedElements = 1 << 21;

    private readonly LlamaConfig _config;
    private readonly RotaryEmbedding _rotary;
    private readonly KernelPool _pool;
    private readonly KernelSet _kernels;
    private readonly Arena _arena = new();
    private readonly DType _manyDType;
    private FlashAttention? _flash;
    private torch.jit.CompilationUnit? _products;
    private bool _usesTorch;
    private Step? _step;
    private float* _cos;
    private float* _sin;
    private Slot[] _slots = [];
    private AttentionPlan? _plan;
    private byte* _queries;

    /// <summary>Operations of a model.</summary>
    /// <param name="config">The model's configuration.</param>
    /// <param name="rotary">Its rope.</param>
    /// <param name="pool">The threads; not owned.</param>
    /// <param name="kernels">The kernels.</param>
    /// <param name="manyDType">What products of many rows run in: bf16 (all matrices are bf16, and the processor multiplies it) or fp32.</param>
    public HostOperations(LlamaConfig config, RotaryEmbedding rotary, KernelPool pool, KernelSet kernels, DType manyDType)
    {
        _config = config;
        _rotary = rotary;
        _pool = pool;
        _kernels = kernels;
        _manyDType = manyDType;
    }

    /// <summary>What products of many rows run in for a model with these matrices, on this processor.</summary>
    public static DType ManyDType(IEnumerable<WeightMatrix> matrices) =>
        Cpu.HasBFloat16Arithmetic && matrices.All(matrix => matrix.ComputeDType == DType.BFloat16) ? DType.BFloat16 : DType.Float32;

    private int Heads => _config.NumAttentionHeads;

    private int KvHeads => _config.NumKeyValueHeads;

    private int HeadDim => _config.HeadDim;

    private float QueryScale => 1 / MathF.Sqrt(HeadDim);

    /// <inheritdoc/>
    public IDisposable Begin(Step step)
    {
        if (!step.IsFew)
        {
            UseTorch();
        }

        var scope = new StepScope(this, step.IsFew ? null : torch.no_grad());
        _step = step;
        _cos = (float*)_arena.Take((long)step.Rows * _rotary.Half * sizeof(float));
        _sin = (float*)_arena.Take((long)step.Rows * _rotary.Half * sizeof(float));
        _rotary.Fill(step.Positions, _cos, _sin);
        _slots = [.. step.Slices.SelectMany(slice => slice.Append.Added).SelectMany(added => Enumerable.Range(added.Start, added.Length).Select(slot => new Slot(added.Buffer, slot)))];
        _plan = step.IsFew ? AttentionPlan.For(step) : null;
        return scope;
    }

    /// <inheritdoc/>
    public IDisposable Scope() => new ArenaScope(_arena);

    /// <inheritdoc/>
    public HostRows Embed(WeightMatrix embedding)
    {
        HostRows x = _arena.TakeRows(DType.Float32, _step!.Rows, embedding.Columns);
        for (int row = 0; row < x.Rows; row++)
        {
            embedding.Widen(_kernels, _step.Ids[row], 1, DType.Float32, x.Row(row));
        }

        return x;
    }

    /// <inheritdoc/>
    public HostRows Norm(HostRows x, Vector weight)
    {
        // Rows that go to a few-rows product stay fp32; so do the last rows of a long prefill, on their way to the head.
        HostRows y = _arena.TakeRows(_step!.IsFew || x.Rows <= Step.FewRows ? DType.Float32 : _manyDType, x.Rows, x.Columns);
        var job = new NormJob(_kernels, x, weight, (float)_config.RmsNormEps, y);
        ForRows(x.Rows, ref job);
        return y;
    }

    /// <inheritdoc/>
    public HostRows Linear(HostRows x, Linear linear) =>
        _step!.IsFew || x.Rows <= Step.FewRows ? LinearOfFew(x, linear) : LinearOfMany(x, linear);

    /// <inheritdoc/>
    public void RopeAndAppend(HostRows queryKeyValue, int layer)
    {
        // Queries of many rows leave the row-major order: [H, T, D] for each sequence, as the fused kernel reads them.
        _queries = _step!.IsFew ? null : _arena.Take((long)_step.Rows * Heads * HeadDim * queryKeyValue.DType.Size());
        var job = new RopeJob(this, queryKeyValue, layer);
        ForRows(_step.Rows, ref job);
    }

    /// <inheritdoc/>
    public HostRows Attend(HostRows queryKeyValue, int layer)
    {
        HostRows output = _arena.TakeRows(queryKeyValue.DType, _step!.Rows, Heads * HeadDim);
        if (_plan is AttentionPlan plan)
        {
            long stride = HeadDim + 2;
            float* partials = (float*)_arena.Take(plan.Partials * Heads * stride * sizeof(float));
            var job = new AttentionJob(this, plan, queryKeyValue, layer, partials);
            _pool.Run(plan.Blocks.Count * KvHeads, ref job);
            var merge = new MergeJob(this, plan, partials, output);
            ForRows(_step.Rows, ref merge);
            return output;
        }

        _flash ??= new FlashAttention();
        foreach (StepSlice slice in _step.Slices)
        {
            using var scope = torch.NewDisposeScope();
            long offset = (long)slice.FirstRow * Heads * HeadDim * queryKeyValue.DType.Size();
            torch.Tensor query = NativeTensor.Over(_queries + offset, queryKeyValue.DType, Heads, slice.Count, HeadDim);
            torch.Tensor to = NativeTensor.Over(output.Row(slice.FirstRow), output.DType, slice.Count, Heads, HeadDim);
            _flash.Attend(query, slice, layer, KvHeads, to);
        }

        return output;
    }

    /// <inheritdoc/>
    public HostRows SwiGlu(HostRows gateUp)
    {
        HostRows y = _arena.TakeRows(gateUp.DType, gateUp.Rows, gateUp.Columns / 2);
        var job = new SwiGluJob(_kernels, gateUp, y);
        ForRows(gateUp.Rows, ref job);
        return y;
    }

    /// <inheritdoc/>
    public void Add(HostRows x, HostRows y)
    {
        var job = new AddJob(_kernels, x, y);
        ForRows(x.Rows, ref job);
    }

    /// <inheritdoc/>
    public HostRows Select(HostRows x, int[] rows)
    {
        HostRows y = _arena.TakeRows(x.DType, rows.Length, x.Columns);
        for (int i = 0; i < rows.Length; i++)
        {
            _kernels.Convert(x.DType, x.Row(rows[i]), x.DType, y.Row(i), x.Columns);
        }

        return y;
    }

    /// <inheritdoc/>
    public float[] Read(HostRows x)
    {
        var copy = new float[(long)x.Rows * x.Columns];
        fixed (float* to = copy)
        {
            _kernels.Convert(x.DType, x.Data, DType.Float32, (byte*)to, copy.LongLength);
        }

        return copy;
    }

    /// <summary>Frees the arena and the compiled scripts.</summary>
    public void Dispose()
    {
        _arena.Dispose();
        _flash?.Dispose();
        _products?.Dispose();
    }

    private HostRows LinearOfFew(HostRows x, Linear linear) => ProductOfFloats(x, Encode(x, linear.Parts[0].Format), linear);

    // Steps of few rows need no libtorch: until the first of many, a program runs without having loaded it. The number of threads is the
    // calling thread's own setting.
    private void UseTorch()
    {
        if (!_usesTorch)
        {
            LibTorch.EnsureLoaded();
            torch.set_num_threads(_pool.Threads);
            _usesTorch = true;
        }
    }

    // The rows as codes meet them; all parts of a product are quantized alike.
    private CodedRows Encode(HostRows x, WeightFormat format)
    {
        if (format == WeightFormat.Float)
        {
            return default;
        }

        var coded = new CodedRows(_arena.Take(CodedRows.Bytes(x.Rows, x.Columns)), x.Rows, x.Columns);
        var job = new EncodeJob(_kernels, x, format == WeightFormat.Int4, coded);
        ForRows(x.Rows, ref job);
        return coded;
    }

    private HostRows LinearOfMany(HostRows x, Linear linear)
    {
        if (x.DType == DType.Float32)
        {
            return ProductOfFloats(x, default, linear);
        }

        HostRows y = _arena.TakeRows(x.DType, x.Rows, linear.OutFeatures);
        using var scope = torch.NewDisposeScope();
        _products ??= torch.jit.compile("def product(x: Tensor, w: Tensor, out: Tensor):\n    torch.mm(x, w.t(), out=out)\n");
        torch.Tensor input = x.AsTensor(), output = y.AsTensor();
        int first = 0;
        foreach (WeightMatrix part in linear.Parts)
        {
            if (part.IsDirect(x.DType))
            {
                _products.invoke("product", input, part.Tensor, output.narrow(1, first, part.Rows));
            }
            else
            {
                ProductInBlocks(input, x.DType, part, output, first);
            }

            first += part.Rows;
        }

        if (linear.Bias is Vector bias)
        {
            output.add_(bias.Tensor);
        }

        return y;
    }

    // Codes: widen a block of weights, multiply, go on to the next.
    private void ProductInBlocks(torch.Tensor input, DType dtype, WeightMatrix part, torch.Tensor output, int first)
    {
        int rows = Math.Clamp(WidenedElements / part.Columns, 1, part.Rows);
        using var scratch = new ArenaScope(_arena);
        byte* block = _arena.Take((long)rows * part.Columns * dtype.Size());
        for (int row = 0; row < part.Rows; row += rows)
        {
            int count = Math.Min(rows, part.Rows - row);
            var job = new WidenJob(_kernels, part, row, count, dtype, block);
            _pool.Run(job.Blocks, ref job);
            torch.Tensor weights = NativeTensor.Over(block, dtype, count, part.Columns);
            _products!.invoke("product", input, weights, output.narrow(1, first + row, count));
        }
    }

    // One row is too little work to share.
    private void ForRows<TJob>(int rows, ref TJob job)
        where TJob : struct, IBlockJob
    {
        if (rows < 4)
        {
            for (int row = 0; row < rows; row++)
            {
                job.Run(row);
            }
        }
        else
        {
            _pool.Run(rows, ref job);
        }
    }

    /// <summary>Where a row's key and value go.</summary>
    private readonly record struct Slot(KvBuffer Buffer, int Index);

    /// <summary>Gives rows back to the arena.</summary>
    private sealed class ArenaScope(Arena arena) : IDisposable
    {
        private readonly (int, long) _mark = arena.Mark();

        public void Dispose() => arena.Reset(_mark);
    }

    /// <summary>One step: its rows, and no gradients for the products in it.</summary>
    private sealed class StepScope(HostOperations operations, IDisposable? noGrad) : IDisposable
    {
        private readonly (int, long) _mark = operations._arena.Mark();

        public void Dispose()
        {
            noGrad?.Dispose();
            operations._arena.Reset(_mark);
            operations._step = null;
            operations._plan = null;
            operations._slots = [];
        }
    }
}

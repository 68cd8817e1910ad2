using PrefixTorch.Caching;
using PrefixTorch.Configuration;
using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;

namespace PrefixTorch.Model.Operations;

/// <summary>
/// The operations for the CPU: kernels in C#, for any number of rows.
/// </summary>
/// <remarks>
/// <para>
/// The residual stream and what products give are always fp32. What products take is bf16 where the processor multiplies bf16 and the weights hold no
/// more, in products by tiles of any number of rows; elsewhere it is fp32, with weights widened in registers for few rows and in blocks for many.
/// </para>
/// <para>
/// In a step of few rows a row's bits depend on its own sequence alone; and so they do in a step of many, and are the same, but for int4 with AMX, which multiplies
/// many rows otherwise.
/// </para>
/// </remarks>
internal sealed unsafe partial class HostOperations : IOperations<HostRows>
{
    private readonly LlamaConfig _config;
    private readonly RotaryEmbedding _rotary;
    private readonly KernelPool _pool;
    private readonly KernelSet _kernels;
    private readonly Arena _arena = new();
    private readonly DType _rowDType;
    private Step? _step;
    private float* _cos;
    private float* _sin;
    private Slot[] _slots = [];
    private AttentionPlan? _plan;
    private RowTile[] _tiles = [];

    /// <summary>Operations of a model.</summary>
    /// <param name="config">The model's configuration.</param>
    /// <param name="rotary">Its rope.</param>
    /// <param name="pool">The threads; not owned.</param>
    /// <param name="kernels">The kernels.</param>
    /// <param name="rowDType">What products take; see <see cref="RowDType"/>.</param>
    public HostOperations(LlamaConfig config, RotaryEmbedding rotary, KernelPool pool, KernelSet kernels, DType rowDType)
    {
        _config = config;
        _rotary = rotary;
        _pool = pool;
        _kernels = kernels;
        _rowDType = rowDType;
    }

    /// <summary>What the products of a model with these matrices take: bf16 where tiles can be had and no matrix holds more, otherwise fp32.</summary>
    public static DType RowDType(IEnumerable<WeightMatrix> matrices, KernelSet kernels) =>
        kernels.HasTiles(TileSource.BFloat16) && matrices.All(matrix => matrix.ComputeDType == DType.BFloat16) ? DType.BFloat16 : DType.Float32;

    private int Heads => _config.NumAttentionHeads;

    private int KvHeads => _config.NumKeyValueHeads;

    private int HeadDim => _config.HeadDim;

    private float QueryScale => 1 / MathF.Sqrt(HeadDim);

    /// <inheritdoc/>
    public IDisposable Begin(Step step)
    {
        var scope = new StepScope(this);
        _step = step;
        _cos = (float*)_arena.Take((long)step.Rows * _rotary.Half * sizeof(float));
        _sin = (float*)_arena.Take((long)step.Rows * _rotary.Half * sizeof(float));
        _rotary.Fill(step.Positions, _cos, _sin);
        _slots = [.. step.Slices.SelectMany(slice => slice.Append.Added).SelectMany(added => Enumerable.Range(added.Start, added.Length).Select(slot => new Slot(added.Buffer, slot)))];
        _plan = step.IsFew ? AttentionPlan.For(step) : null;
        _tiles = step.IsFew ? [] : TilesOf(step);
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
        HostRows y = _arena.TakeRows(_rowDType, x.Rows, x.Columns);
        var job = new NormJob(_kernels, x, weight, (float)_config.RmsNormEps, y);
        ForRows(x.Rows, ref job);
        return y;
    }

    /// <inheritdoc/>
    public HostRows Linear(HostRows x, Linear linear)
    {
        HostRows y = _arena.TakeRows(DType.Float32, x.Rows, linear.OutFeatures);
        using var scratch = new ArenaScope(_arena);
        WeightFormat format = linear.Parts[0].Format;
        if (format == WeightFormat.Int8)
        {
            ProductOfInt8(x, linear, y);
        }
        else if (format == WeightFormat.Int4)
        {
            ProductOfInt4(x, linear, y);
        }
        else if (_rowDType == DType.BFloat16 && _kernels.HasAmx)
        {
            new AmxProducts(_arena, _pool).BFloat16(x, linear, y);
        }
        else if (_rowDType == DType.BFloat16)
        {
            ProductByTiles(x.Data, (long)x.Columns * x.DType.Size(), linear, y);
        }
        else
        {
            ProductOfFloats(x, linear, y);
        }

        return y;
    }

    /// <inheritdoc/>
    public void RopeAndAppend(HostRows queryKeyValue, int layer)
    {
        var job = new RopeJob(this, queryKeyValue, layer);
        ForRows(_step!.Rows, ref job);
    }

    /// <inheritdoc/>
    public HostRows Attend(HostRows queryKeyValue, int layer)
    {
        HostRows output = _arena.TakeRows(_rowDType, _step!.Rows, Heads * HeadDim);
        if (_plan is AttentionPlan plan)
        {
            AttendByBlocks(plan, queryKeyValue, layer, output);
        }
        else
        {
            AttendByRows(_tiles, queryKeyValue, layer, output);
        }

        return output;
    }

    /// <inheritdoc/>
    public HostRows SwiGlu(HostRows gateUp)
    {
        HostRows y = _arena.TakeRows(_rowDType, gateUp.Rows, gateUp.Columns / 2);
        var job = new SwiGluJob(_kernels, gateUp, y);
        _pool.Run(job.Blocks, ref job);
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
        Read(x, copy);
        return copy;
    }

    /// <inheritdoc/>
    public void Read(HostRows x, Span<float> to)
    {
        fixed (float* first = to[..checked(x.Rows * x.Columns)])
        {
            var job = new ReadJob(_kernels, x, first);
            _pool.Run(job.Blocks, ref job);
        }
    }

    /// <summary>Frees the arena.</summary>
    public void Dispose() => _arena.Dispose();

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

    /// <summary>One step and its rows.</summary>
    private sealed class StepScope(HostOperations operations) : IDisposable
    {
        private readonly (int, long) _mark = operations._arena.Mark();

        public void Dispose()
        {
            operations._arena.Reset(_mark);
            operations._step = null;
            operations._plan = null;
            operations._tiles = [];
            operations._slots = [];
        }
    }
}

using PrefixTorch.Caching;
using PrefixTorch.Configuration;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace PrefixTorch.Model.Operations;

/// <summary>
/// The operations as plain libtorch: any device, fp32, bf16 or fp16, exact in fp32. The twin that the CPU's kernels are compared with.
/// </summary>
/// <remarks>
/// Attention is computed for each segment of the past apart and merged by log-sum-exp, so that no past is ever copied. Weights that
/// are not in the compute dtype on the device are converted once, when first used, and held until disposal.
/// </remarks>
internal sealed class TorchOperations : IOperations<Tensor>
{
    // Held for good: TorchSharp does not keep a scalar alive while libtorch reads it, and one that nobody holds may be finalized under its hands.
    private static readonly Scalar s_negativeInfinity = double.NegativeInfinity;

    private readonly Scalar _rmsNormEps;
    private readonly Scalar _rootOfHeadDim;
    private readonly LlamaConfig _config;
    private readonly Device _device;
    private readonly ScalarType _dtype;
    private readonly RotaryEmbedding _rotary;
    private readonly Dictionary<object, Tensor> _weights = [];
    private Step? _step;
    private Tensor? _cos;
    private Tensor? _sin;
    private Tensor? _query;

    /// <summary>Operations on a device, in a dtype.</summary>
    public TorchOperations(LlamaConfig config, RotaryEmbedding rotary, Device device, DType dtype)
    {
        _config = config;
        _rmsNormEps = config.RmsNormEps;
        _rootOfHeadDim = Math.Sqrt(config.HeadDim);
        _rotary = rotary;
        _device = device;
        _dtype = dtype.ToTorch();
    }

    /// <inheritdoc/>
    public unsafe IDisposable Begin(Step step)
    {
        var scope = new StepScope();
        _step = step;
        float[] cos = new float[step.Rows * _rotary.Half], sin = new float[step.Rows * _rotary.Half];
        fixed (float* c = cos, s = sin)
        {
            _rotary.Fill(step.Positions, c, s);
        }

        // [1, T, D]: both halves of a head turn by the same angles.
        _cos = Table(cos);
        _sin = Table(sin);
        return scope;

        Tensor Table(float[] values)
        {
            Tensor half = tensor(values, [1, step.Rows, _rotary.Half]).to(_device);
            return cat([half, half], -1);
        }
    }

    /// <inheritdoc/>
    public IDisposable Scope() => NewDisposeScope();

    /// <inheritdoc/>
    public Tensor Embed(WeightMatrix embedding) => Weight(embedding).index_select(0, tensor(_step!.Ids, int64).to(_device));

    /// <inheritdoc/>
    public Tensor Norm(Tensor x, Vector weight)
    {
        Tensor wide = x.to(ScalarType.Float32);

        // Not square(): TorchSharp gives the native call a number that the garbage collector may take away before it is read.
        Tensor scale = ((wide * wide).mean([-1], keepdim: true) + _rmsNormEps).rsqrt();
        return Weight(weight) * (wide * scale).to(_dtype);
    }

    /// <inheritdoc/>
    public Tensor Linear(Tensor x, Linear linear)
    {
        Tensor y = cat([.. linear.Parts.Select(part => nn.functional.linear(x, Weight(part)))], -1);
        return linear.Bias is Vector bias ? y + Weight(bias) : y;
    }

    /// <inheritdoc/>
    public void RopeAndAppend(Tensor queryKeyValue, int layer)
    {
        int heads = _config.NumAttentionHeads, kvHeads = _config.NumKeyValueHeads;

        // [T, H + 2 KV, D] to [heads, T, D]
        Tensor all = queryKeyValue.view(queryKeyValue.size(0), heads + 2 * kvHeads, _config.HeadDim).transpose(0, 1);
        _query = Rotate(all.narrow(0, 0, heads));
        Tensor key = Rotate(all.narrow(0, heads, kvHeads)), value = all.narrow(0, heads + kvHeads, kvHeads);
        foreach (StepSlice slice in _step!.Slices)
        {
            int row = slice.FirstRow;
            foreach (KvSegment added in slice.Append.Added)
            {
                KvTensors.Write(added, layer, key.narrow(1, row, added.Length), value.narrow(1, row, added.Length));
                row += added.Length;
            }
        }
    }

    /// <inheritdoc/>
    public Tensor Attend(Tensor queryKeyValue, int layer) =>
        cat([.. _step!.Slices.Select(slice => Attend(_query!.narrow(1, slice.FirstRow, slice.Count), slice, layer))], 0);

    /// <inheritdoc/>
    public Tensor SwiGlu(Tensor gateUp)
    {
        Tensor[] halves = gateUp.chunk(2, -1);
        return nn.functional.silu(halves[0]) * halves[1];
    }

    /// <inheritdoc/>
    public void Add(Tensor x, Tensor y) => x.add_(y);

    /// <inheritdoc/>
    public Tensor Select(Tensor x, int[] rows) => rows.Length == x.size(0) ? x : x.index_select(0, tensor(rows, int64).to(_device));

    /// <inheritdoc/>
    public float[] Read(Tensor x)
    {
        using var scope = NewDisposeScope();
        return x.to(ScalarType.Float32).cpu().contiguous().data<float>().ToArray();
    }

    /// <inheritdoc/>
    public void Read(Tensor x, Span<float> to)
    {
        using var scope = NewDisposeScope();
        x.to(ScalarType.Float32).cpu().contiguous().data<float>().CopyTo(to);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor weight in _weights.Values)
        {
            weight.Dispose();
        }

        _weights.Clear();
    }

    // One sequence: [H, T, D] against its chain of segments, a segment at a time.
    private Tensor Attend(Tensor query, StepSlice slice, int layer)
    {
        int kvHeads = _config.NumKeyValueHeads, groups = _config.NumAttentionHeads / kvHeads, headDim = _config.HeadDim;
        long rows = query.size(1);

        // The queries of a group stand in place of more rows, so that a key head is read once for all of them: [KV, G T, D].
        Tensor grouped = query.to(ScalarType.Float32).reshape(kvHeads, groups * rows, headDim) / _rootOfHeadDim;
        Tensor? output = null, logSum = null;
        int position = 0;
        foreach (KvSegment segment in slice.Append.Segments)
        {
            (Tensor keys, Tensor values) = KvTensors.Read(segment, layer);
            Tensor key = keys.to(ScalarType.Float32), value = values.to(ScalarType.Float32);
            Tensor scores = grouped.matmul(key.transpose(1, 2));
            if (position + segment.Length > slice.Start)
            {
                // Row t sees keys up to its own position, slice.Start + t.
                Tensor seen = ones(rows, segment.Length, dtype: ScalarType.Bool, device: _device).tril(slice.Start - position);
                scores = scores.view(kvHeads, groups, rows, segment.Length).masked_fill(seen.logical_not(), s_negativeInfinity).view(kvHeads, groups * rows, segment.Length);
            }

            Tensor lse = scores.logsumexp(-1, keepdim: true);
            Tensor weights = (scores - lse).exp().nan_to_num(0);    // a row that sees nothing here has lse = -inf
            Tensor part = weights.matmul(value);
            if (output is null)
            {
                (output, logSum) = (part, lse);
            }
            else
            {
                Tensor total = logaddexp(logSum!, lse);
                output = output * (logSum! - total).exp() + part * (lse - total).exp();
                logSum = total;
            }

            position += segment.Length;
        }

        // [KV, G T, D] is [H, T, D]; rows first again.
        return output!.view(kvHeads * groups, rows, headDim).transpose(0, 1).reshape(rows, kvHeads * groups * headDim).to(_dtype);
    }

    private Tensor Rotate(Tensor x)
    {
        Tensor wide = x.to(ScalarType.Float32);
        Tensor[] halves = wide.chunk(2, -1);
        return (wide * _cos! + cat([-halves[1], halves[0]], -1) * _sin!).to(_dtype);
    }

    private Tensor Weight(Vector vector) => Convert(vector, vector.Tensor);

    private unsafe Tensor Weight(WeightMatrix matrix)
    {
        if (matrix.Format == WeightFormat.Float)
        {
            return Convert(matrix, matrix.Tensor);
        }

        if (!_weights.TryGetValue(matrix, out Tensor? converted))
        {
            using Tensor wide = empty([matrix.Rows, matrix.Columns], ScalarType.Float32);
            fixed (byte* to = wide.bytes)
            {
                matrix.Widen(KernelSet.Current, 0, matrix.Rows, DType.Float32, to);
            }

            _weights[matrix] = converted = wide.to(_dtype, _device, copy: true).DetachFromDisposeScope();
        }

        return converted;
    }

    private Tensor Convert(object owner, Tensor stored)
    {
        if (stored.dtype == _dtype && _device.type == DeviceType.CPU)
        {
            return stored;
        }

        if (!_weights.TryGetValue(owner, out Tensor? converted))
        {
            _weights[owner] = converted = stored.to(_dtype, _device).DetachFromDisposeScope();
        }

        return converted;
    }

    /// <summary>No gradients and one dispose scope, for the length of a step.</summary>
    private sealed class StepScope : IDisposable
    {
        private readonly IDisposable _noGrad = no_grad();
        private readonly DisposeScope _scope = NewDisposeScope();

        public void Dispose()
        {
            _scope.Dispose();
            _noGrad.Dispose();
        }
    }
}

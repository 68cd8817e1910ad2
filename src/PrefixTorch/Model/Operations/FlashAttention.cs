using PrefixTorch.Caching;
using static TorchSharp.torch;

namespace PrefixTorch.Model.Operations;

/// <summary>
/// Attention of many rows of one sequence through libtorch's fused kernel, which gives the log-sum-exp beside the output: the chain of segments
/// is attended to piece by piece, the new tokens causally among themselves, and the pieces are merged. No score matrix is ever stored.
/// </summary>
/// <remarks>
/// TorchSharp does not expose the operator; TorchScript text does. A causal mask with fewer queries than keys would align top-left there, so
/// only the square of new tokens is causal, and the past is attended to whole.
/// </remarks>
internal sealed class FlashAttention : IDisposable
{
    private const string Script = """
        def flash(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tuple[Tensor, Tensor]:
            return torch._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal)

        """;

    private readonly jit.CompilationUnit _unit = jit.compile(Script);

    /// <summary>
    /// Attends and writes <c>[T, H D]</c>.
    /// </summary>
    /// <param name="query"><c>[H, T, D]</c>, turned and not scaled.</param>
    /// <param name="slice">The sequence; its new keys and values are in their slots already.</param>
    /// <param name="layer">The layer whose keys are meant.</param>
    /// <param name="kvHeads">Key/value heads.</param>
    /// <param name="output"><c>[T, H, D]</c>, written.</param>
    public void Attend(Tensor query, StepSlice slice, int layer, int kvHeads, Tensor output)
    {
        long heads = query.size(0), rows = query.size(1), headDim = query.size(2), groups = heads / kvHeads;
        ScalarType dtype = query.dtype;

        // The new tokens among themselves: a square, causal. Their heads are repeated, which is a copy of the chunk, not of the past.
        (Tensor key, Tensor value) = Gather(slice.Append.Added, layer);
        (Tensor sum, Tensor logSum) = Run(query.unsqueeze(0), Repeat(key), Repeat(value), causal: true);
        if (slice.Start > 0)
        {
            // The past sees no mask, so a group's queries stand in place of more rows: [1, KV, G T, D].
            Tensor grouped = query.view(1, kvHeads, groups * rows, headDim);
            sum = sum.to(ScalarType.Float32);
            int left = slice.Start;
            foreach (KvSegment segment in slice.Append.Segments)
            {
                int count = Math.Min(segment.Length, left);
                if (count == 0)
                {
                    break;
                }

                (Tensor keys, Tensor values) = segment.Buffer.Tensors(layer);
                (Tensor part, Tensor partLogSum) = Run(
                    grouped, keys.narrow(1, segment.Start, count).to(dtype).unsqueeze(0), values.narrow(1, segment.Start, count).to(dtype).unsqueeze(0), causal: false);
                part = part.reshape(1, heads, rows, headDim).to(ScalarType.Float32);
                partLogSum = partLogSum.reshape(1, heads, rows);
                Tensor total = logaddexp(logSum, partLogSum);
                sum = sum * (logSum - total).exp().unsqueeze(-1) + part * (partLogSum - total).exp().unsqueeze(-1);
                logSum = total;
                left -= count;
            }
        }

        output.copy_(sum.squeeze(0).transpose(0, 1));

        Tensor Repeat(Tensor x) => x.to(dtype).unsqueeze(1).expand(kvHeads, groups, rows, headDim).reshape(1, heads, rows, headDim);
    }

    /// <summary>Frees the compiled script.</summary>
    public void Dispose() => _unit.Dispose();

    private static (Tensor Keys, Tensor Values) Gather(KvSegment[] segments, int layer)
    {
        List<Tensor> keys = [], values = [];
        foreach (KvSegment segment in segments)
        {
            (Tensor k, Tensor v) = segment.Buffer.Tensors(layer);
            keys.Add(k.narrow(1, segment.Start, segment.Length));
            values.Add(v.narrow(1, segment.Start, segment.Length));
        }

        return (cat(keys, 1), cat(values, 1));
    }

    private (Tensor Output, Tensor LogSum) Run(Tensor query, Tensor key, Tensor value, bool causal) =>
        ((Tensor, Tensor))_unit.invoke("flash", query, key, value, causal);
}

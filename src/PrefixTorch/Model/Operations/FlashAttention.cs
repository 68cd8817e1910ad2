using PrefixTorch.Caching;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using static TorchSharp.torch;

namespace PrefixTorch.Model.Operations;

/// <summary>
/// Attention of many rows of one sequence through libtorch's fused kernel, which gives the log-sum-exp beside the output: the chain of segments
/// is attended to piece by piece, the new tokens causally among themselves, and the pieces are merged. No score matrix is ever stored.
/// </summary>
/// <remarks>
/// TorchSharp does not expose the operator; TorchScript text does. A causal mask with fewer queries than keys would align top-left there, so
/// only the square of new tokens is causal, and the past is attended to whole. Keys and values that are stored in another type than the
/// arithmetic's are widened some tokens at a time.
/// </remarks>
internal sealed unsafe class FlashAttention(KernelPool pool, KernelSet kernels, Arena arena) : IDisposable
{
    /// <summary>Tokens of the past that are widened at a time.</summary>
    private const int WidenedTokens = 2048;

    private const string Script = """
        def flash(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tuple[Tensor, Tensor]:
            return torch._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal)

        """;

    private readonly jit.CompilationUnit _unit = jit.compile(Script);

    /// <summary>
    /// Attends and writes <c>[T, H D]</c>. Scratch is taken from the arena; the caller gives it back.
    /// </summary>
    /// <param name="query"><c>[H, T, D]</c>, turned and not scaled.</param>
    /// <param name="dtype">The arithmetic's type, and the query's.</param>
    /// <param name="slice">The sequence; its new keys and values are in their slots already.</param>
    /// <param name="layer">The layer whose keys are meant.</param>
    /// <param name="kvHeads">Key/value heads.</param>
    /// <param name="output"><c>[T, H, D]</c>, written.</param>
    public void Attend(Tensor query, DType dtype, StepSlice slice, int layer, int kvHeads, Tensor output)
    {
        long heads = query.size(0), rows = query.size(1), headDim = query.size(2), groups = heads / kvHeads;
        KvLayout layout = slice.Append.Added[0].Buffer.Layout;
        Scratch? scratch = layout.DType == dtype ? null : new Scratch(arena, layout, dtype, Math.Max(slice.Count, Math.Min(WidenedTokens, slice.Start)));

        // The new tokens among themselves: a square, causal. Their heads are repeated, which is a copy of the chunk, not of the past.
        (Tensor key, Tensor value) = Read(slice.Append.Added, layer, scratch);
        (Tensor sum, Tensor logSum) = Run(query.unsqueeze(0), Repeat(key), Repeat(value), causal: true);
        if (slice.Start > 0)
        {
            // The past sees no mask, so a group's queries stand in place of more rows: [1, KV, G T, D].
            Tensor grouped = query.view(1, kvHeads, groups * rows, headDim);
            sum = sum.to(ScalarType.Float32);
            foreach (KvSegment piece in Past(slice, scratch is null ? int.MaxValue : WidenedTokens))
            {
                (Tensor keys, Tensor values) = Read([piece], layer, scratch);
                (Tensor part, Tensor partLogSum) = Run(grouped, keys.unsqueeze(0), values.unsqueeze(0), causal: false);
                part = part.reshape(1, heads, rows, headDim).to(ScalarType.Float32);
                partLogSum = partLogSum.reshape(1, heads, rows);
                Tensor total = logaddexp(logSum, partLogSum);
                sum = sum * (logSum - total).exp().unsqueeze(-1) + part * (partLogSum - total).exp().unsqueeze(-1);
                logSum = total;
            }
        }

        output.copy_(sum.squeeze(0).transpose(0, 1));

        Tensor Repeat(Tensor x) => x.unsqueeze(1).expand(kvHeads, groups, rows, headDim).reshape(1, heads, rows, headDim);
    }

    /// <summary>Frees the compiled script.</summary>
    public void Dispose() => _unit.Dispose();

    // The tokens before the new ones, in pieces of so many at most.
    private static IEnumerable<KvSegment> Past(StepSlice slice, int most)
    {
        int left = slice.Start;
        foreach (KvSegment segment in slice.Append.Segments)
        {
            int end = segment.Start + Math.Min(segment.Length, left);
            left -= end - segment.Start;
            for (int start = segment.Start; start < end; start += Math.Min(most, end - start))
            {
                yield return new KvSegment(segment.Buffer, start, start + Math.Min(most, end - start));
            }
        }
    }

    // Keys and values in the arithmetic's type, [KV, n, D]: views where they are stored so, otherwise in the scratch, until it is used again.
    private (Tensor Keys, Tensor Values) Read(KvSegment[] segments, int layer, Scratch? scratch)
    {
        if (scratch is null)
        {
            (Tensor Keys, Tensor Values)[] parts = [.. segments.Select(segment => KvTensors.Numbers(segment, layer))];
            return parts.Length == 1 ? parts[0] : (cat([.. parts.Select(part => part.Keys)], 1), cat([.. parts.Select(part => part.Values)], 1));
        }

        int count = segments.Sum(segment => segment.Length), done = 0;
        foreach (KvSegment segment in segments)
        {
            var job = new WidenJob(kernels, segment, layer, scratch, count, done);
            pool.Run(job.Blocks, ref job);
            done += segment.Length;
        }

        return scratch.Tensors(count);
    }

    private (Tensor Output, Tensor LogSum) Run(Tensor query, Tensor key, Tensor value, bool causal) =>
        ((Tensor, Tensor))_unit.invoke("flash", query, key, value, causal);

    /// <summary>Room for keys and values of so many tokens of one layer.</summary>
    private sealed class Scratch(Arena arena, KvLayout layout, DType dtype, int tokens)
    {
        private readonly byte* _keys = arena.Take((long)layout.KeyValueHeads * tokens * layout.HeadDim * dtype.Size());
        private readonly byte* _values = arena.Take((long)layout.KeyValueHeads * tokens * layout.HeadDim * dtype.Size());

        /// <summary>One row, counted over heads and tokens.</summary>
        public KvPlace Row(long row, bool keys) => new(dtype, (keys ? _keys : _values) + row * layout.HeadDim * dtype.Size(), null);

        /// <summary>The first <paramref name="count"/> tokens of every head, where that many were written for each.</summary>
        public (Tensor Keys, Tensor Values) Tensors(int count) =>
            (NativeTensor.Over(_keys, dtype, layout.KeyValueHeads, count, layout.HeadDim), NativeTensor.Over(_values, dtype, layout.KeyValueHeads, count, layout.HeadDim));
    }

    /// <summary>Some tokens of one head of a segment, behind others that were widened before.</summary>
    private readonly struct WidenJob(KernelSet kernels, KvSegment segment, int layer, Scratch to, int tokens, int before) : IBlockJob
    {
        private const int TokensPerBlock = 256;

        private int BlocksOfHead => (segment.Length + TokensPerBlock - 1) / TokensPerBlock;

        public int Blocks => BlocksOfHead * segment.Buffer.Layout.KeyValueHeads;

        public void Run(int block)
        {
            int head = block / BlocksOfHead, first = block % BlocksOfHead * TokensPerBlock, count = Math.Min(TokensPerBlock, segment.Length - first);
            foreach (bool keys in (ReadOnlySpan<bool>)[true, false])
            {
                KvPlace from = segment.Buffer.Place(layer, head, segment.Start + first, keys);
                from.CopyTo(to.Row((long)head * tokens + before + first, keys), count, segment.Buffer.Layout.HeadDim, kernels);
            }
        }
    }
}

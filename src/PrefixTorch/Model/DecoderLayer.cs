using PrefixTorch.Model.Operations;

namespace PrefixTorch.Model;

/// <summary>Self-attention: every token looks back at its past (Vaswani et al. 2017; grouped queries, Ainslie et al. 2023).</summary>
/// <param name="QueryKeyValue">q_proj, k_proj and v_proj: <c>[(H + 2 KV) D, C]</c>.</param>
/// <param name="Output">o_proj: <c>[C, H D]</c>.</param>
internal sealed record SelfAttention(Linear QueryKeyValue, Linear Output) : IDisposable
{
    /// <summary><c>[T, C]</c> to <c>[T, C]</c>, or to the given rows of it; the new keys and values go to the step's slots.</summary>
    public TRows Forward<TRows>(IOperations<TRows> ops, TRows x, int layer, int[]? rows)
    {
        TRows attended = ops.Attend(Append(ops, x, layer), layer);
        return ops.Linear(rows is null ? attended : ops.Select(attended, rows), Output);
    }

    /// <summary>The new keys and values to the step's slots, which is all that later tokens want of this layer.</summary>
    /// <returns>Query, key and value.</returns>
    public TRows Append<TRows>(IOperations<TRows> ops, TRows x, int layer)
    {
        TRows queryKeyValue = ops.Linear(x, QueryKeyValue);
        ops.RopeAndAppend(queryKeyValue, layer);
        return queryKeyValue;
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        QueryKeyValue.Dispose();
        Output.Dispose();
    }
}

/// <summary>The feed-forward network (SwiGLU, Shazeer 2020).</summary>
/// <param name="GateUp">gate_proj and up_proj: <c>[2 I, C]</c>.</param>
/// <param name="Down">down_proj: <c>[C, I]</c>.</param>
internal sealed record FeedForward(Linear GateUp, Linear Down) : IDisposable
{
    /// <summary><c>[T, C]</c> to <c>[T, C]</c>.</summary>
    public TRows Forward<TRows>(IOperations<TRows> ops, TRows x) => ops.Linear(ops.SwiGlu(ops.Linear(x, GateUp)), Down);

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        GateUp.Dispose();
        Down.Dispose();
    }
}

/// <summary>One layer: attention and feed-forward, each behind a norm and added to what came in.</summary>
internal sealed record DecoderLayer(Vector InputNorm, SelfAttention Attention, Vector PostAttentionNorm, FeedForward FeedForward) : IDisposable
{
    /// <summary>Changes <paramref name="hidden"/>, <c>[T, C]</c>, in place.</summary>
    public void Forward<TRows>(IOperations<TRows> ops, TRows hidden, int layer)
    {
        using (ops.Scope())
        {
            ops.Add(hidden, Attention.Forward(ops, ops.Norm(hidden, InputNorm), layer, rows: null));
        }

        Feed(ops, hidden);
    }

    /// <summary>The same as the last layer: every token's keys and values, and of what comes out no more than the given rows, <c>[rows, C]</c>; of no rows, nothing that has a meaning.</summary>
    public TRows ForwardLast<TRows>(IOperations<TRows> ops, TRows hidden, int layer, int[] rows)
    {
        if (rows.Length == 0)
        {
            using (ops.Scope())
            {
                Attention.Append(ops, ops.Norm(hidden, InputNorm), layer);
            }

            return hidden;
        }

        TRows wanted = ops.Select(hidden, rows);
        using (ops.Scope())
        {
            ops.Add(wanted, Attention.Forward(ops, ops.Norm(hidden, InputNorm), layer, rows));
        }

        Feed(ops, wanted);
        return wanted;
    }

    private void Feed<TRows>(IOperations<TRows> ops, TRows hidden)
    {
        using (ops.Scope())
        {
            ops.Add(hidden, FeedForward.Forward(ops, ops.Norm(hidden, PostAttentionNorm)));
        }
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        InputNorm.Dispose();
        Attention.Dispose();
        PostAttentionNorm.Dispose();
        FeedForward.Dispose();
    }
}

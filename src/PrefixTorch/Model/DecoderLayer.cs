using PrefixTorch.Model.Operations;

namespace PrefixTorch.Model;

/// <summary>Self-attention: every token looks back at its past (Vaswani et al. 2017; grouped queries, Ainslie et al. 2023).</summary>
/// <param name="QueryKeyValue">q_proj, k_proj and v_proj: <c>[(H + 2 KV) D, C]</c>.</param>
/// <param name="Output">o_proj: <c>[C, H D]</c>.</param>
internal sealed record SelfAttention(Linear QueryKeyValue, Linear Output) : IDisposable
{
    /// <summary><c>[T, C]</c> to <c>[T, C]</c>; the new keys and values go to the step's slots.</summary>
    public TRows Forward<TRows>(IOperations<TRows> ops, TRows x, int layer)
    {
        TRows queryKeyValue = ops.Linear(x, QueryKeyValue);
        ops.RopeAndAppend(queryKeyValue, layer);
        return ops.Linear(ops.Attend(queryKeyValue, layer), Output);
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
            ops.Add(hidden, Attention.Forward(ops, ops.Norm(hidden, InputNorm), layer));
        }

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

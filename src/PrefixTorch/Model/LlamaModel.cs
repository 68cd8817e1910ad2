using PrefixTorch.Configuration;
using PrefixTorch.Model.Operations;

namespace PrefixTorch.Model;

/// <summary>
/// Llama (Touvron et al. 2023; Grattafiori et al. 2024), as Hugging Face's <c>LlamaForCausalLM</c>: embedding, decoder layers, norm, head.
/// </summary>
/// <remarks>Stateless: owns weights and nothing that changes. What a sequence has read lies in its cache.</remarks>
internal sealed class LlamaModel(LlamaConfig config, WeightMatrix embedTokens, DecoderLayer[] layers, Vector norm, Linear head) : IDisposable
{
    /// <summary>The resolved configuration.</summary>
    public LlamaConfig Config { get; } = config;

    /// <summary>embed_tokens: <c>[V, C]</c>.</summary>
    public WeightMatrix EmbedTokens { get; } = embedTokens;

    /// <summary>The decoder layers.</summary>
    public IReadOnlyList<DecoderLayer> Layers { get; } = layers;

    /// <summary>The final norm: <c>[C]</c>.</summary>
    public Vector Norm { get; } = norm;

    /// <summary>lm_head: <c>[V, C]</c>; the embedding itself where they are tied.</summary>
    public Linear Head { get; } = head;

    /// <summary>Every matrix once, for counting.</summary>
    public IEnumerable<WeightMatrix> Matrices =>
        Layers.SelectMany(layer => layer.Attention.QueryKeyValue.Parts.Concat(layer.Attention.Output.Parts).Concat(layer.FeedForward.GateUp.Parts).Concat(layer.FeedForward.Down.Parts))
            .Append(EmbedTokens).Concat(Head.Parts).Distinct();

    /// <summary>
    /// One forward pass. Keys and values of the new tokens are in the step's slots when it returns, for the caller to commit.
    /// </summary>
    /// <param name="ops">How the arithmetic is done.</param>
    /// <param name="step">What is computed.</param>
    /// <param name="observe">Called with the hidden states <c>[T, C]</c> after the embedding (0) and after each layer (1 …), for tests.</param>
    /// <param name="cancellation">Looked at between layers.</param>
    /// <returns>Logits of the step's logit rows, <c>[rows, V]</c>, fp32, row-major.</returns>
    /// <exception cref="OperationCanceledException">Cancelled; nothing is committed.</exception>
    public float[] Forward<TRows>(IOperations<TRows> ops, Step step, Action<int, float[]>? observe = null, CancellationToken cancellation = default)
    {
        var logits = new float[step.LogitRows.Length * (long)Config.VocabSize];
        Forward(ops, step, logits, observe, cancellation);
        return logits;
    }

    /// <summary>One forward pass, whose logits go to memory that is there already.</summary>
    /// <param name="ops">How the arithmetic is done.</param>
    /// <param name="step">What is computed.</param>
    /// <param name="logits">Takes the logits of the step's logit rows, <c>[rows, V]</c>, fp32, row-major.</param>
    /// <param name="observe">As above.</param>
    /// <param name="cancellation">Looked at between layers.</param>
    public void Forward<TRows>(IOperations<TRows> ops, Step step, Span<float> logits, Action<int, float[]>? observe, CancellationToken cancellation)
    {
        using (ops.Begin(step))
        {
            // Only the rows that somebody asked for meet the head, the largest matrix of a small model, and the last layer behind its keys and values.
            bool selects = observe is null && step.LogitRows.Length < step.Rows;
            TRows hidden = ops.Embed(EmbedTokens);
            observe?.Invoke(0, ops.Read(hidden));
            for (int layer = 0; layer < Layers.Count; layer++)
            {
                cancellation.ThrowIfCancellationRequested();
                if (layer == Layers.Count - 1 && selects)
                {
                    hidden = Layers[layer].ForwardLast(ops, hidden, layer, step.LogitRows);
                }
                else
                {
                    Layers[layer].Forward(ops, hidden, layer);
                    observe?.Invoke(layer + 1, ops.Read(hidden));
                }
            }

            if (step.LogitRows.Length == 0)
            {
                return;
            }

            TRows last = ops.Norm(selects || step.LogitRows.Length == step.Rows ? hidden : ops.Select(hidden, step.LogitRows), Norm);
            observe?.Invoke(Layers.Count + 1, ops.Read(last));
            ops.Read(ops.Linear(last, Head), logits);
        }
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        foreach (DecoderLayer layer in Layers)
        {
            layer.Dispose();
        }

        Norm.Dispose();
        Head.Dispose();
        if (Head.Parts[0] != EmbedTokens)
        {
            EmbedTokens.Dispose();
        }
    }
}

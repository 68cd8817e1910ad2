using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Caching;

/// <content>Keys and values as tensors, in and out.</content>
public sealed partial class KvCache
{
    /// <summary>
    /// Keys and values of a layer, each <c>[1, KV, S, D]</c> in the cache's dtype on its device, keys rotated: what Hugging Face's
    /// <c>past_key_values[layer]</c> holds; an 8-bit cache's are widened to fp32. A last token that has none yet is computed
    /// first. A copy; the caller disposes both.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such layer.</exception>
    /// <exception cref="ObjectDisposedException">The cache was disposed; or the model, and the last token has no keys and values yet.</exception>
    public (torch.Tensor Key, torch.Tensor Value) ToTensors(int layer)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(layer);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(layer, Layout.Layers);
        EnsureEvaluated();
        using KvCache held = Hold(_host);
        LibTorch.EnsureLoaded();
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        KvSegment[] segments = held.Segments;
        torch.Device device = segments.Length == 0 ? torch.CPU : segments[0].Buffer.Tensors(layer).Keys.device;
        long[] shape = [1, Layout.KeyValueHeads, held.Length, Layout.HeadDim];
        torch.Tensor keys = torch.empty(shape, Layout.NumberType.ToTorch(), device), values = torch.empty_like(keys);
        int done = 0;
        foreach (KvSegment segment in segments)
        {
            (torch.Tensor k, torch.Tensor v) = KvTensors.Read(segment, layer);
            keys[0].narrow(1, done, segment.Length).copy_(k);
            values[0].narrow(1, done, segment.Length).copy_(v);
            done += segment.Length;
        }

        return (keys.MoveToOuterDisposeScope(), values.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// A cache from keys and values that were computed elsewhere, such as Hugging Face's <c>past_key_values</c>. They are copied, and converted to the
    /// model's KV dtype; nothing can show that this model made them. The logits after the last token are not known: the first use reads one token again,
    /// and says so. The caller disposes the cache; the tensors stay his.
    /// </summary>
    /// <param name="tokens">The ids (S of them), fixed points that no text merges with.</param>
    /// <param name="keys">For each layer <c>[1, KV, S, D]</c> or <c>[KV, S, D]</c>, of floating-point numbers, rotated.</param>
    /// <param name="values">Likewise.</param>
    /// <param name="model">The model that the cache is to belong to, a loaded <c>Llama</c>.</param>
    /// <exception cref="PrefixTorchException">An id, a shape or a count is not this model's; the message has both values.</exception>
    public static KvCache FromTensors(ReadOnlySpan<int> tokens, IReadOnlyList<torch.Tensor> keys, IReadOnlyList<torch.Tensor> values, IKvCacheHost model)
    {
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(values);
        ArgumentNullException.ThrowIfNull(model);
        KvLayout layout = model.Layout;
        CheckTokens(tokens, model);
        CheckShapes("keys", keys, layout, tokens.Length);
        CheckShapes("values", values, layout, tokens.Length);
        if (tokens.Length == 0)
        {
            return new KvCache(model);
        }

        KvBuffer buffer = model.Allocate(tokens.Length, fills: true);
        try
        {
            buffer.TryClaim(0, tokens.Length);
            tokens.CopyTo(buffer.Ids);
            buffer.Origins[..tokens.Length].Fill(TokenOrigin.Special);
            buffer.PassStarts[0] = true;
            LibTorch.EnsureLoaded();
            using var scope = torch.NewDisposeScope();
            using var noGrad = torch.no_grad();
            var segment = new KvSegment(buffer, 0, tokens.Length);
            long[] shape = [layout.KeyValueHeads, tokens.Length, layout.HeadDim];
            for (int layer = 0; layer < layout.Layers; layer++)
            {
                KvTensors.Write(segment, layer, keys[layer].reshape(shape), values[layer].reshape(shape));
            }

            return new KvCache(model, [segment], null);
        }
        finally
        {
            buffer.Release();
        }
    }

    private static void CheckTokens(ReadOnlySpan<int> tokens, IKvCacheHost model)
    {
        foreach (int id in tokens)
        {
            if (id < 0 || id >= model.VocabSize)
            {
                throw new PrefixTorchException($"Token id {id} is not in the model's vocabulary of {model.VocabSize}: ids are 0 to {model.VocabSize - 1}.");
            }
        }

        if (tokens.Length > model.MaxPositionEmbeddings)
        {
            throw new PrefixTorchException($"There are {tokens.Length} tokens and the model's context is {model.MaxPositionEmbeddings}: give fewer.");
        }
    }

    private static void CheckShapes(string what, IReadOnlyList<torch.Tensor> tensors, KvLayout layout, int length)
    {
        if (tensors.Count != layout.Layers)
        {
            throw new PrefixTorchException($"There are {tensors.Count} {what} and the model has {layout.Layers} layers: give one tensor for each layer.");
        }

        long[] expected = [layout.KeyValueHeads, length, layout.HeadDim];
        for (int i = 0; i < tensors.Count; i++)
        {
            long[] shape = tensors[i].shape;
            if (!(shape is [1, .. long[] rest] ? rest : shape).SequenceEqual(expected) && !shape.SequenceEqual(expected))
            {
                throw new PrefixTorchException($"The {what} of layer {i} have the shape [{string.Join(", ", shape)}]; this model's, of {length} tokens, have [1, {string.Join(", ", expected)}].");
            }

            if (!torch.is_floating_point(tensors[i]))
            {
                throw new PrefixTorchException($"The {what} of layer {i} are {tensors[i].dtype}; give floating-point numbers.");
            }
        }
    }
}

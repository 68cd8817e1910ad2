using System.Runtime.InteropServices;
using PrefixTorch.Caching;
using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Generation;

/// <summary>What a model makes of a sequence, as a file that any tool can compare: logits, keys and values in float32.</summary>
public static class LogitsFile
{
    /// <summary>
    /// Computes a sequence and writes <c>logits</c> [T,V] and, for every layer i, <c>key.{i}</c> and <c>value.{i}</c> [1,KV,T,D], keys rotated, as
    /// <c>past_key_values</c> has them.
    /// </summary>
    /// <param name="llama">The model.</param>
    /// <param name="ids">The tokens.</param>
    /// <param name="path">The file; replaced if it is there.</param>
    /// <param name="prefixLength">The first so many go into a cache that is cloned; the rest continues the clone.</param>
    /// <param name="cancellationToken">Ends it; no file is left.</param>
    /// <exception cref="PrefixTorchException">The ids are not the model's, or the file cannot be written.</exception>
    public static async Task WriteAsync(Llama llama, int[] ids, string path, int prefixLength = 0, CancellationToken cancellationToken = default)
    {
        (float[] logits, KvCache cache) = await llama.LogitsAsync(ids, prefixLength, cancellationToken).ConfigureAwait(false);
        using (cache)
        {
            List<TensorToWrite> tensors = [new("logits", DType.Float32, [ids.Length, llama.Config.VocabSize], writer => writer.Write(MemoryMarshal.AsBytes(logits.AsSpan())))];
            KvLayout layout = cache.Layout;
            long[] shape = [1, layout.KeyValueHeads, cache.Length, layout.HeadDim];
            for (int layer = 0; layer < layout.Layers; layer++)
            {
                // A layer is widened when its turn to be written comes: at most two are in memory at once.
                int i = layer;
                tensors.Add(new($"key.{i}", DType.Float32, shape, writer => writer.Write(MemoryMarshal.AsBytes(Wide(cache, i, keys: true).AsSpan()))));
                tensors.Add(new($"value.{i}", DType.Float32, shape, writer => writer.Write(MemoryMarshal.AsBytes(Wide(cache, i, keys: false).AsSpan()))));
            }

            SafetensorsWriter.Write(path, tensors, options: new SafetensorsWriteOptions { Cancellation = cancellationToken });
        }
    }

    private static float[] Wide(KvCache cache, int layer, bool keys)
    {
        (torch.Tensor key, torch.Tensor value) = cache.ToTensors(layer);
        using (key)
        using (value)
        using (torch.Tensor wide = (keys ? key : value).to(torch.ScalarType.Float32, torch.CPU).contiguous())
        {
            return wide.data<float>().ToArray();
        }
    }
}

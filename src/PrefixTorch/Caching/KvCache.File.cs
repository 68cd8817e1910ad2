namespace PrefixTorch.Caching;

/// <content>A cache on disk.</content>
public sealed partial class KvCache
{
    /// <summary>
    /// Writes the cache to a file, whole or not at all. A last token that has no keys and values yet is computed first. Other calls may go on
    /// meanwhile, appends to this cache included: what was there at the call is written.
    /// </summary>
    /// <param name="path">The file, a safetensors file; replaced if it is there.</param>
    /// <param name="options">Flushing, a parent, quantization.</param>
    /// <exception cref="KvStateException">The parent that is to be continued is not what this cache begins with.</exception>
    /// <exception cref="PrefixTorchException">The file cannot be written; what was there before is untouched.</exception>
    /// <exception cref="ObjectDisposedException">The cache was disposed; or the model, and the last token has no keys and values yet.</exception>
    public void Save(string path, KvSaveOptions? options = null)
    {
        EnsureEvaluated();
        using KvCache held = Hold(_host);
        KvStateWriter.Save(held, Name, path, options ?? new());
    }

    /// <summary>
    /// Restores a saved cache for a model, by mapping the file: nothing is copied until it is needed. The caller disposes it. The file may be
    /// deleted or replaced meanwhile, where the operating system lets a mapped file be, but not be written into.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="model">The model it was made with, a loaded <c>Llama</c>.</param>
    /// <param name="options">Checks, conversion, and where parents are.</param>
    /// <exception cref="KvStateException">Made by other weights, rope or tokenizer, of a later version, another KV dtype, or a parent that is missing or changed: the message has both values.</exception>
    /// <exception cref="Checkpoints.CheckpointException">The file is not there, truncated or damaged.</exception>
    public static KvCache Load(string path, IKvCacheHost model, KvLoadOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        return KvStateReader.Load(path, model, options ?? new());
    }
}

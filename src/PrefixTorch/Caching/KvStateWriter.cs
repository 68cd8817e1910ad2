using System.Runtime.InteropServices;
using System.Text;
using PrefixTorch.Checkpoints;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>
/// From a cache to a state file (<see cref="KvStatePart"/> says what is in it). Written to a temporary file and renamed: killed at any moment, the old file or
/// the new one is there.
/// </summary>
internal static class KvStateWriter
{
    /// <summary>Writes an evaluated cache, which the caller holds.</summary>
    public static void Save(KvCache cache, string? name, string path, KvSaveOptions options)
    {
        KvStateParent? parent = options.Parent is null ? null : ParentOf(cache, path, options.Parent);
        KvLayout layout = cache.Layout;
        KvSegment[] segments = KvRows.Skip(cache.Segments, parent?.Length ?? 0);
        if (options.Quantization != KvQuantization.Int8 || layout.HasScales)
        {
            Write(cache, name, path, options, parent, segments, layout, error: null);
            return;
        }

        // All of it is made before anything is written: the error stands in the header.
        (HostKvBuffer small, RoundingError error) = KvQuantizer.Quantize(segments, layout);
        try
        {
            Write(cache, name, path, options, parent, [new KvSegment(small, 0, small.Capacity)], small.Layout, error.Relative);
        }
        finally
        {
            small.Release();
        }
    }

    // The keys and values of the segments, which may be others than the cache's, and everything else of the cache.
    private static void Write(KvCache cache, string? name, string path, KvSaveOptions options, KvStateParent? parent, KvSegment[] segments, KvLayout held, double? error)
    {
        int skip = parent?.Length ?? 0;
        int[] ids = cache.Tokens[skip..];
        TokenOrigin[] origins = cache.Origins[skip..];
        bool[] passStarts = cache.PassStarts[skip..];

        // Wide elements first, so that everything lies aligned.
        List<TensorToWrite> tensors = [new(KvStatePart.IdsName, DType.Int64, [1, ids.Length], MemoryMarshal.AsBytes<long>(Array.ConvertAll(ids, id => (long)id)).ToArray())];
        if (cache.Logits is float[] logits)
        {
            tensors.Add(new(KvStatePart.LogitsName, DType.Float32, [logits.Length], MemoryMarshal.AsBytes<float>(logits).ToArray()));
        }

        AddKeysAndValues(tensors, segments, held, ids.Length);
        tensors.Add(new(KvStatePart.OriginsName, DType.UInt8, [origins.Length], MemoryMarshal.AsBytes<TokenOrigin>(origins).ToArray()));
        tensors.Add(new(KvStatePart.PassStartsName, DType.UInt8, [passStarts.Length], MemoryMarshal.AsBytes<bool>(passStarts).ToArray()));
        if (options.IncludeText && cache.Host.Decode(ids) is string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            tensors.Add(new(KvStatePart.TextName, DType.UInt8, [bytes.Length], bytes));
        }

        var facts = new Dictionary<string, string>(options.Facts) { ["cpu"] = Cpu.Description, ["library"] = typeof(KvStateWriter).Assembly.GetName().Version?.ToString(3) ?? "" };
        var header = new KvStateHeader(KvStateHeader.CurrentVersion, cache.Host.Identity, cache.Layout, skip + ids.Length, DateTimeOffset.UtcNow, facts)
        {
            Name = name,
            Parent = parent,
            Run = cache.Run,
            Quantization = held.HasScales ? KvQuantization.Int8 : KvQuantization.None,
            QuantizationError = error,
        };
        SafetensorsWriter.Write(path, tensors, header.ToMetadata(), new SafetensorsWriteOptions { Checksums = true, FlushToDisk = options.FlushToDisk });
    }

    private static void AddKeysAndValues(List<TensorToWrite> tensors, KvSegment[] segments, KvLayout layout, int length)
    {
        long[] shape = [1, layout.KeyValueHeads, length, layout.HeadDim];
        if (layout.HasScales)
        {
            Add("_scale", DType.Float32, shape[..3], KvRows.WriteScales);
        }

        Add("", layout.DType, shape, KvRows.Write);

        void Add(string suffix, DType dtype, long[] shape, Action<PayloadWriter, KvSegment[], int, KvLayout, bool> write)
        {
            for (int i = 0; i < 2 * layout.Layers; i++)
            {
                (int layer, bool keys) = (i / 2, i % 2 == 0);
                tensors.Add(new($"{Name(i)}{suffix}.{layer}", dtype, shape, writer => write(writer, segments, layer, layout, keys)));
            }
        }
    }

    // Keys and values of a layer take turns.
    private static string Name(int i) => i % 2 == 0 ? "key" : "value";

    // What the cache has from the parent, to the bit: the file may leave it out.
    private static KvStateParent ParentOf(KvCache cache, string path, string parentPath)
    {
        string full = Path.GetFullPath(path), parent = Path.GetFullPath(parentPath);
        using KvStateChain chain = KvStateChain.Open(parent, cache.Host.StatePath);
        if (chain.Parts.Any(part => Path.GetFullPath(part.Path) == full))
        {
            throw new KvStateException(path, $"the state is to continue '{parentPath}', and this would be written over it or over what it continues itself. Give another name.");
        }

        using KvCache held = KvStateReader.Load(parent, cache.Host, new KvLoadOptions());
        int common = Math.Min(KvCache.CommonPrefix(cache, held), cache.Origins.AsSpan().CommonPrefixLength(held.Origins));
        if (common == 0)
        {
            throw new KvStateException(path, $"the state begins with other tokens than its parent '{parentPath}': there is nothing that it could leave out. Save it without a parent.");
        }

        int same = KvRows.SameBits(cache.Segments, held.Segments, common, cache.Layout);
        if (same < common)
        {
            throw new KvStateException(path, $"the state begins with {common} tokens of its parent '{parentPath}', but with other keys and values from token {same} on: it was read apart, or the parent is quantized. Continue the parent that was loaded, or save without one.");
        }

        string relative = Path.GetRelativePath(Path.GetDirectoryName(full)!, parent).Replace('\\', '/');
        return new KvStateParent(Path.IsPathRooted(relative) ? Path.GetFileName(parent) : relative, chain.Last.Digest, common);
    }
}

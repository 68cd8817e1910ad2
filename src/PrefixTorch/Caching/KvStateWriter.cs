using System.Runtime.ExceptionServices;
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
        int skip = parent?.Length ?? 0;
        KvLayout layout = cache.Layout;
        int[] ids = cache.Tokens[skip..];
        TokenOrigin[] origins = cache.Origins[skip..];
        bool[] passStarts = cache.PassStarts[skip..];
        KvSegment[] segments = KvRows.Skip(cache.Segments, skip);

        // Wide elements first, so that everything lies aligned.
        List<TensorToWrite> tensors = [new(KvStatePart.IdsName, DType.Int64, [1, ids.Length], MemoryMarshal.AsBytes<long>(Array.ConvertAll(ids, id => (long)id)).ToArray())];
        if (cache.Logits is float[] logits)
        {
            tensors.Add(new(KvStatePart.LogitsName, DType.Float32, [logits.Length], MemoryMarshal.AsBytes<float>(logits).ToArray()));
        }

        double? error = null;
        if (options.Quantization == KvQuantization.Int8 && !layout.HasScales)
        {
            error = AddQuantized(tensors, segments, layout, ids.Length);
        }
        else
        {
            AddAsTheyAre(tensors, segments, layout, ids.Length);
        }

        tensors.Add(new(KvStatePart.OriginsName, DType.UInt8, [origins.Length], MemoryMarshal.AsBytes<TokenOrigin>(origins).ToArray()));
        tensors.Add(new(KvStatePart.PassStartsName, DType.UInt8, [passStarts.Length], MemoryMarshal.AsBytes<bool>(passStarts).ToArray()));
        if (options.IncludeText && cache.Host.Decode(ids) is string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            tensors.Add(new(KvStatePart.TextName, DType.UInt8, [bytes.Length], bytes));
        }

        var facts = new Dictionary<string, string>(options.Facts) { ["cpu"] = Cpu.Description, ["library"] = typeof(KvStateWriter).Assembly.GetName().Version?.ToString(3) ?? "" };
        var header = new KvStateHeader(KvStateHeader.CurrentVersion, cache.Host.Identity, layout, skip + ids.Length, DateTimeOffset.UtcNow, facts)
        {
            Name = name,
            Parent = parent,
            Run = cache.Run,
            Quantization = layout.HasScales ? KvQuantization.Int8 : options.Quantization,
            QuantizationError = error,
        };
        SafetensorsWriter.Write(path, tensors, header.ToMetadata(), new SafetensorsWriteOptions { Checksums = true, FlushToDisk = options.FlushToDisk });
    }

    private static void AddAsTheyAre(List<TensorToWrite> tensors, KvSegment[] segments, KvLayout layout, int length)
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

    // Gives the relative error. All of it is made before anything is written: the error stands in the header.
    private static double AddQuantized(List<TensorToWrite> tensors, KvSegment[] segments, KvLayout layout, int length)
    {
        var quantized = new KvQuantizer.Quantized[2 * layout.Layers];
        try
        {
            Parallel.For(0, quantized.Length, i => quantized[i] = KvQuantizer.Quantize(KvRows.Floats(segments, i / 2, layout, keys: i % 2 == 0), layout.HeadDim));
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        long[] shape = [1, layout.KeyValueHeads, length, layout.HeadDim];
        for (int i = 0; i < quantized.Length; i++)
        {
            tensors.Add(new($"{Name(i)}_scale.{i / 2}", DType.Float32, shape[..3], MemoryMarshal.AsBytes<float>(quantized[i].Scales).ToArray()));
        }

        for (int i = 0; i < quantized.Length; i++)
        {
            sbyte[] numbers = quantized[i].Numbers;
            tensors.Add(new($"{Name(i)}.{i / 2}", DType.Int8, shape, writer => writer.Write(MemoryMarshal.AsBytes<sbyte>(numbers))));
        }

        double squares = quantized.Sum(part => part.Squares);
        return squares == 0 ? 0 : Math.Sqrt(quantized.Sum(part => part.SquaredError) / squares);
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

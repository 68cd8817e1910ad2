using System.Buffers.Binary;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using PrefixTorch.Checkpoints;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Caching;

/// <summary>
/// A saved cache: a safetensors file that anyone can open. <c>input_ids</c> [1, S], <c>logits</c> [V] where known, <c>key.i</c> and <c>value.i</c>
/// [1, KV, S, D] as <c>past_key_values</c> has them, <c>token_origins</c> [S]; in the metadata what must match, and a checksum for every tensor.
/// </summary>
/// <remarks>Written to a temporary file and renamed: killed at any moment, the old file or the new one is there. Restored by mapping: no key is copied.</remarks>
internal static unsafe class KvStateFile
{
    private const string IdsName = "input_ids";
    private const string LogitsName = "logits";
    private const string OriginsName = "token_origins";

    /// <summary>Writes an evaluated cache, which the caller holds.</summary>
    public static void Save(KvCache cache, string path, KvSaveOptions options)
    {
        KvLayout layout = cache.Layout;
        int[] ids = cache.Tokens;
        TokenOrigin[] origins = cache.Origins;
        KvSegment[] segments = cache.Segments;
        long[] shape = [1, layout.KeyValueHeads, ids.Length, layout.HeadDim];

        // Wide elements first, so that everything lies aligned.
        List<TensorToWrite> tensors = [new(IdsName, DType.Int64, [1, ids.Length], MemoryMarshal.AsBytes<long>(Array.ConvertAll(ids, id => (long)id)).ToArray())];
        if (cache.Logits is float[] logits)
        {
            tensors.Add(new(LogitsName, DType.Float32, [logits.Length], MemoryMarshal.AsBytes<float>(logits).ToArray()));
        }

        for (int i = 0; i < layout.Layers; i++)
        {
            int layer = i;
            tensors.Add(new($"key.{i}", layout.DType, shape, writer => WriteRows(writer, segments, layer, layout, keys: true)));
            tensors.Add(new($"value.{i}", layout.DType, shape, writer => WriteRows(writer, segments, layer, layout, keys: false)));
        }

        tensors.Add(new(OriginsName, DType.UInt8, [origins.Length], MemoryMarshal.AsBytes<TokenOrigin>(origins).ToArray()));
        var facts = new Dictionary<string, string>(options.Facts) { ["cpu"] = Cpu.Description, ["library"] = typeof(KvStateFile).Assembly.GetName().Version?.ToString(3) ?? "" };
        var header = new KvStateHeader(KvStateHeader.CurrentVersion, cache.Host.Identity, layout, ids.Length, DateTimeOffset.UtcNow, facts);
        SafetensorsWriter.Write(path, tensors, header.ToMetadata(), new SafetensorsWriteOptions { Checksums = true, FlushToDisk = options.FlushToDisk });
    }

    /// <summary>Reads a cache for a model.</summary>
    public static KvCache Load(string path, IKvCacheHost host, KvLoadOptions options)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        KvStateHeader header = KvStateHeader.Read(file);
        header.CheckAgainst(path, host);
        KvLayout layout = header.Layout;
        if (layout.DType != host.Layout.DType && !options.Convert)
        {
            throw new KvStateException(path, $"the state holds keys and values as {layout.DType.Name()}, the model as {host.Layout.DType.Name()}: load the model with that KV dtype (--kv-dtype {layout.DType.Name()}), or ask for a conversion.");
        }

        TensorEntry idsEntry = Require(file, IdsName, DType.Int64, 1, header.Length), originsEntry = Require(file, OriginsName, DType.UInt8, header.Length);
        Verify(file, idsEntry);
        Verify(file, originsEntry);
        List<TensorEntry> payload = [];
        for (int i = 0; i < layout.Layers; i++)
        {
            payload.Add(Require(file, $"key.{i}", layout.DType, 1, layout.KeyValueHeads, header.Length, layout.HeadDim));
            payload.Add(Require(file, $"value.{i}", layout.DType, 1, layout.KeyValueHeads, header.Length, layout.HeadDim));
        }

        TensorEntry? logitsEntry = file.Tensors.ContainsKey(LogitsName) ? Require(file, LogitsName, DType.Float32, file[LogitsName].Shape is [long v] ? v : -1) : null;
        if (file.Tensors.Count != payload.Count + 2 + (logitsEntry is null ? 0 : 1))
        {
            throw new KvStateException(path, $"the file has {file.Tensors.Count} tensors, and a state of {layout.Layers} layers has {payload.Count + 2} or, with logits, one more. Make the state again.");
        }

        if (!options.Trust)
        {
            VerifyAll(file, logitsEntry is null ? payload : [.. payload, logitsEntry]);
        }

        float[]? logits = logitsEntry is null ? null : MemoryMarshal.Cast<byte, float>(file.Bytes(logitsEntry)).ToArray();
        return new KvCache(host, header.Length == 0 ? null : Buffer(file, header, host, payload, idsEntry, originsEntry), logits);
    }

    private static KvBuffer Buffer(SafetensorsFile file, KvStateHeader header, IKvCacheHost host, List<TensorEntry> payload, TensorEntry idsEntry, TensorEntry originsEntry)
    {
        KvLayout layout = header.Layout;
        nint[] keys = [.. payload.Where((_, i) => i % 2 == 0).Select(entry => (nint)file.Pointer(entry))];
        nint[] values = [.. payload.Where((_, i) => i % 2 == 1).Select(entry => (nint)file.Pointer(entry))];
        var mapped = new HostKvBuffer(layout, header.Length, file.Block.Retain(), keys, values);
        KvBuffer buffer = mapped;
        if (host.IsOnHost)
        {
            if (layout.DType != host.Layout.DType)
            {
                buffer = Converted(mapped, host.Layout);
                mapped.Release();
            }
        }
        else
        {
            buffer = OnDevice(mapped, host);
            mapped.Release();
        }

        long* ids = (long*)file.Pointer(idsEntry);
        for (int i = 0; i < header.Length; i++)
        {
            long id = BinaryPrimitives.ReadInt64LittleEndian(new ReadOnlySpan<byte>(ids + i, sizeof(long)));
            buffer.Ids[i] = id is >= 0 and <= int.MaxValue ? (int)id : throw Broken(buffer, $"token {i} has the id {id}");
            byte origin = file.Pointer(originsEntry)[i];
            buffer.Origins[i] = origin <= (byte)TokenOrigin.Generated ? (TokenOrigin)origin : throw Broken(buffer, $"token {i} has the origin {origin}");
        }

        return buffer;

        KvStateException Broken(KvBuffer made, string what)
        {
            made.Release();
            return new KvStateException(file.Path, $"{what}, which there is not. Make the state again.");
        }
    }

    private static HostKvBuffer Converted(HostKvBuffer from, KvLayout layout)
    {
        var to = new HostKvBuffer(layout, from.Capacity);
        to.TryClaim(0, from.Capacity);
        long rows = (long)layout.KeyValueHeads * from.Capacity;
        for (int layer = 0; layer < layout.Layers; layer++)
        {
            KernelSet.Current.Convert(from.Layout.DType, from.Keys(layer, 0, 0), layout.DType, to.Keys(layer, 0, 0), rows * layout.HeadDim);
            KernelSet.Current.Convert(from.Layout.DType, from.Values(layer, 0, 0), layout.DType, to.Values(layer, 0, 0), rows * layout.HeadDim);
        }

        return to;
    }

    private static KvBuffer OnDevice(HostKvBuffer from, IKvCacheHost host)
    {
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        KvBuffer to = host.Allocate(from.Capacity);
        to.TryClaim(0, from.Capacity);
        for (int layer = 0; layer < from.Layout.Layers; layer++)
        {
            (torch.Tensor k, torch.Tensor v) = from.Tensors(layer);
            (torch.Tensor toKeys, torch.Tensor toValues) = to.Tensors(layer);
            toKeys.narrow(1, 0, from.Capacity).copy_(k);
            toValues.narrow(1, 0, from.Capacity).copy_(v);
        }

        return to;
    }

    // [1, KV, S, D] head by head, each from the segments in order: pieces of the buffers as they lie.
    private static void WriteRows(PayloadWriter writer, KvSegment[] segments, int layer, KvLayout layout, bool keys)
    {
        if (segments.Length > 0 && !segments[0].Buffer.IsHost)
        {
            WriteFromDevice(writer, segments, layer, keys);
            return;
        }

        for (int head = 0; head < layout.KeyValueHeads; head++)
        {
            foreach (KvSegment segment in segments)
            {
                byte* first = keys ? segment.Buffer.Keys(layer, head, segment.Start) : segment.Buffer.Values(layer, head, segment.Start);
                writer.Write([new PayloadPiece(first, (long)segment.Length * layout.RowBytes)]);
            }
        }
    }

    private static void WriteFromDevice(PayloadWriter writer, KvSegment[] segments, int layer, bool keys)
    {
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        torch.Tensor all = torch.cat([.. segments.Select(Rows)], 1).cpu().contiguous();
        writer.Write(all.bytes);

        torch.Tensor Rows(KvSegment segment)
        {
            (torch.Tensor k, torch.Tensor v) = segment.Buffer.Tensors(layer);
            return (keys ? k : v).narrow(1, segment.Start, segment.Length);
        }
    }

    private static TensorEntry Require(SafetensorsFile file, string name, DType dtype, params long[] shape)
    {
        if (!file.Tensors.TryGetValue(name, out TensorEntry? entry))
        {
            throw new KvStateException(file.Path, $"the state lacks {name}. Make the state again.");
        }

        if (entry.DType != dtype || !entry.Shape.AsSpan().SequenceEqual(shape))
        {
            throw new KvStateException(file.Path, $"{name} is {entry.DType.FileName()} [{string.Join(", ", entry.Shape)}], and the header says {dtype.FileName()} [{string.Join(", ", shape)}]. Make the state again.");
        }

        return entry;
    }

    private static void VerifyAll(SafetensorsFile file, List<TensorEntry> entries)
    {
        try
        {
            Parallel.ForEach(entries, entry => Verify(file, entry));
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    private static void Verify(SafetensorsFile file, TensorEntry entry)
    {
        if (!SafetensorsChecksums.Verify(file, entry))
        {
            throw new KvStateException(file.Path, $"{entry.Name} has no checksum. The file is damaged: restore it from a copy, or make the state again.");
        }
    }
}

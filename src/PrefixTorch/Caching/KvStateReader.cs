using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Caching;

/// <summary>From state files to a cache: each file becomes one full buffer, mapped where it can be, of which the cache has a view.</summary>
internal static class KvStateReader
{
    /// <summary>Reads a cache for a model. The caller disposes it.</summary>
    public static KvCache Load(string path, IKvCacheHost host, KvLoadOptions options)
    {
        KvCache? held = null;
        using var chain = KvStateChain.Open(path, [.. options.StatePath, .. host.StatePath], parent => (held = InMemory(parent, host, options)) is not null);
        using KvCache? known = held;
        foreach (KvStatePart part in chain.Parts)
        {
            part.Header.CheckAgainst(part.Path, host);
            CheckDType(part, host, options);
            if (!options.Trust)
            {
                part.VerifyPayload();
            }
        }

        List<KvSegment> segments = [];
        try
        {
            // From the end to the beginning: a file gives the tokens that the one after it does not bring itself.
            int end = chain.Last.Header.Length;
            foreach (KvStatePart part in chain.Parts)
            {
                int start = part.Header.Length - part.Header.OwnLength;
                if (end > start)
                {
                    segments.Insert(0, new KvSegment(Buffer(part, host), 0, end - start));
                }

                end = Math.Min(end, start);
            }

            if (known is not null && end > 0)
            {
                known.Truncate(end);
                foreach (KvSegment segment in known.Segments.Reverse())
                {
                    segment.Buffer.Retain();
                    segments.Insert(0, segment);
                }
            }

            return new KvCache(host, [.. segments], chain.Last.ReadLogits(host.VocabSize), chain.Last.Header.Run, chain.Last.Digest) { Name = chain.Last.Header.Name };
        }
        finally
        {
            segments.ForEach(segment => segment.Buffer.Release());
        }
    }

    // A clone of a cache that begins with the parent, for the length of the call.
    private static KvCache? InMemory(KvStateParent parent, IKvCacheHost host, KvLoadOptions options) =>
        options.Parents.FirstOrDefault(cache => ReferenceEquals(cache.Host, host) && cache.Source is (string digest, int length) && digest == parent.Digest && length >= parent.Length)?.Clone();

    private static void CheckDType(KvStatePart part, IKvCacheHost host, KvLoadOptions options)
    {
        // What was quantized for the file alone is no longer of the type that it was.
        DType theirs = part.Header.Layout.DType, ours = host.Layout.DType;
        if (theirs != ours && !options.Convert && (part.Header.Quantization == KvQuantization.None || theirs == DType.Int8))
        {
            throw new KvStateException(part.Path, $"the state holds keys and values as {theirs.Name()}, the model as {ours.Name()}: load the model with that KV dtype (--kv-dtype {theirs.Name()}), or ask for a conversion (--convert).");
        }
    }

    private static KvBuffer Buffer(KvStatePart part, IKvCacheHost host)
    {
        KvBuffer buffer = ForHost(part.Map(), host);
        try
        {
            int[] ids = part.ReadIds();
            int beyond = Array.FindIndex(ids, id => id >= host.VocabSize);
            if (beyond >= 0)
            {
                throw part.Broken($"there is a token {ids[beyond]} and the model's vocabulary is {host.VocabSize}");
            }

            ids.CopyTo(buffer.Ids);
            ReadOnlySpan<byte> origins = part.File.Bytes(part.Origins);
            int strange = origins.IndexOfAnyExceptInRange((byte)0, (byte)TokenOrigin.Generated);
            if (strange >= 0)
            {
                throw part.Broken($"token {strange} has the origin {origins[strange]}");
            }

            System.Runtime.InteropServices.MemoryMarshal.Cast<byte, TokenOrigin>(origins).CopyTo(buffer.Origins);
            buffer.PassStarts[0] = true;
            if (part.PassStarts is not null)
            {
                ReadOnlySpan<byte> starts = part.File.Bytes(part.PassStarts);
                for (int i = 0; i < starts.Length; i++)
                {
                    buffer.PassStarts[i] = starts[i] != 0;
                }
            }

            return buffer;
        }
        catch
        {
            buffer.Release();
            throw;
        }
    }

    // The buffer in the model's dtype on its device; lets go of the one given where that is another.
    private static KvBuffer ForHost(HostKvBuffer buffer, IKvCacheHost host)
    {
        if (host.IsOnHost && buffer.Layout.DType == host.Layout.DType)
        {
            return buffer;
        }

        try
        {
            return host.IsOnHost ? Converted(buffer, host.Layout) : OnDevice(buffer, host);
        }
        finally
        {
            buffer.Release();
        }
    }

    private static HostKvBuffer Converted(HostKvBuffer from, KvLayout layout)
    {
        var to = HostKvBuffer.ToFill(layout, from.Capacity);
        long rows = (long)layout.KeyValueHeads * from.Capacity;
        Parallel.For(0, 2 * layout.Layers, i => from.Place(i / 2, 0, 0, keys: i % 2 == 0).CopyTo(to.Place(i / 2, 0, 0, keys: i % 2 == 0), rows, layout.HeadDim, KernelSet.Current));
        return to;
    }

    private static KvBuffer OnDevice(HostKvBuffer from, IKvCacheHost host)
    {
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        KvBuffer to = host.Allocate(from.Capacity, fills: true);
        to.TryClaim(0, from.Capacity);
        KvSegment source = new(from, 0, from.Capacity), target = new(to, 0, from.Capacity);
        for (int layer = 0; layer < from.Layout.Layers; layer++)
        {
            if (from.Layout.HasScales && to.Layout.HasScales)
            {
                Copy(KvTensors.Numbers(source, layer), KvTensors.Numbers(target, layer));
                Copy(KvTensors.Scales(source, layer), KvTensors.Scales(target, layer));
            }
            else
            {
                (torch.Tensor keys, torch.Tensor values) = KvTensors.Read(source, layer);
                KvTensors.Write(target, layer, keys, values);
            }
        }

        return to;

        static void Copy((torch.Tensor Keys, torch.Tensor Values) source, (torch.Tensor Keys, torch.Tensor Values) target)
        {
            target.Keys.copy_(source.Keys);
            target.Values.copy_(source.Values);
        }
    }
}

using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Caching;

/// <summary>From state files to a cache: each file becomes one full buffer, mapped where it can be, of which the cache has a view.</summary>
internal static unsafe class KvStateReader
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
        DType theirs = part.Header.Layout.DType, ours = host.Layout.DType;
        if (theirs != ours && !options.Convert && part.Header.Quantization == KvQuantization.None)
        {
            throw new KvStateException(part.Path, $"the state holds keys and values as {theirs.Name()}, the model as {ours.Name()}: load the model with that KV dtype (--kv-dtype {theirs.Name()}), or ask for a conversion (--convert).");
        }
    }

    private static KvBuffer Buffer(KvStatePart part, IKvCacheHost host)
    {
        KvBuffer buffer = Payload(part, host);
        try
        {
            int[] ids = part.ReadIds();
            int highest = ids.Max();
            if (highest >= host.VocabSize)
            {
                throw part.Broken($"there is a token {highest} and the model's vocabulary is {host.VocabSize}");
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

    private static KvBuffer Payload(KvStatePart part, IKvCacheHost host)
    {
        if (part.Header.Quantization == KvQuantization.Int8)
        {
            var layout = part.Header.Layout with { DType = host.Layout.DType };
            var widened = new HostKvBuffer(layout, part.Header.OwnLength);
            widened.TryClaim(0, widened.Capacity);
            Parallel.For(0, 2 * layout.Layers, i => KvQuantizer.Widen(part, widened, i / 2, keys: i % 2 == 0));
            return ForHost(widened, host);
        }

        nint[] keys = [.. part.Keys.Select(entry => (nint)part.File.Pointer(entry))];
        nint[] values = [.. part.Values.Select(entry => (nint)part.File.Pointer(entry))];
        return ForHost(new HostKvBuffer(part.Header.Layout, part.Header.OwnLength, part.File.Block.Retain(), keys, values), host);
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
        var to = new HostKvBuffer(layout, from.Capacity);
        to.TryClaim(0, from.Capacity);
        long count = (long)layout.KeyValueHeads * from.Capacity * layout.HeadDim;
        Parallel.For(0, layout.Layers, layer =>
        {
            KernelSet.Current.Convert(from.Layout.DType, from.Keys(layer, 0, 0), layout.DType, to.Keys(layer, 0, 0), count);
            KernelSet.Current.Convert(from.Layout.DType, from.Values(layer, 0, 0), layout.DType, to.Values(layer, 0, 0), count);
        });
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
}

using PrefixTorch.Checkpoints;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using TorchSharp;

namespace PrefixTorch.Caching;

/// <summary>A layer's keys or values of a chain of segments, laid out as <c>[KV, S, D]</c>: head by head, each from the segments in order.</summary>
internal static unsafe class KvRows
{
    /// <summary>The segments without their first <paramref name="skip"/> tokens.</summary>
    public static KvSegment[] Skip(KvSegment[] segments, int skip)
    {
        List<KvSegment> rest = [];
        foreach (KvSegment segment in segments)
        {
            int here = Math.Min(skip, segment.Length);
            skip -= here;
            if (here < segment.Length)
            {
                rest.Add(segment with { Start = segment.Start + here });
            }
        }

        return [.. rest];
    }

    /// <summary>Writes them as they are.</summary>
    public static void Write(PayloadWriter writer, KvSegment[] segments, int layer, KvLayout layout, bool keys)
    {
        if (segments.Length > 0 && !segments[0].Buffer.IsHost)
        {
            using var scope = torch.NewDisposeScope();
            using var noGrad = torch.no_grad();
            writer.Write(OnHost(segments, layer, keys).bytes);
            return;
        }

        for (int head = 0; head < layout.KeyValueHeads; head++)
        {
            foreach (KvSegment segment in segments)
            {
                writer.Write(Row(segment, layer, head, keys), (long)segment.Length * layout.RowBytes);
            }
        }
    }

    /// <summary>Reads them as fp32.</summary>
    public static float[] Floats(KvSegment[] segments, int layer, KvLayout layout, bool keys)
    {
        if (segments.Length > 0 && !segments[0].Buffer.IsHost)
        {
            using var scope = torch.NewDisposeScope();
            using var noGrad = torch.no_grad();
            return OnHost(segments, layer, keys).to(torch.float32).data<float>().ToArray();
        }

        var floats = new float[checked(layout.KeyValueHeads * segments.Sum(segment => segment.Length) * layout.HeadDim)];
        fixed (float* to = floats)
        {
            float* next = to;
            for (int head = 0; head < layout.KeyValueHeads; head++)
            {
                foreach (KvSegment segment in segments)
                {
                    long count = (long)segment.Length * layout.HeadDim;
                    KernelSet.Current.Convert(layout.DType, Row(segment, layer, head, keys), DType.Float32, (byte*)next, count);
                    next += count;
                }
            }
        }

        return floats;
    }

    /// <summary>
    /// How many of the first <paramref name="length"/> tokens have the same bits in both chains, in every layer. What is one memory is not compared.
    /// </summary>
    public static int SameBits(KvSegment[] a, KvSegment[] b, int length, KvLayout layout)
    {
        int i = 0, j = 0, atLeft = 0, atRight = 0, done = 0;
        while (done < length)
        {
            KvSegment x = a[i], y = b[j];
            int count = Math.Min(length - done, Math.Min(x.Length - atLeft, y.Length - atRight));
            int same = ReferenceEquals(x.Buffer, y.Buffer) && x.Start + atLeft == y.Start + atRight
                ? count
                : SameRows(x with { Start = x.Start + atLeft }, y with { Start = y.Start + atRight }, count, layout);
            done += same;
            if (same < count)
            {
                break;
            }

            (i, atLeft) = atLeft + count == x.Length ? (i + 1, 0) : (i, atLeft + count);
            (j, atRight) = atRight + count == y.Length ? (j + 1, 0) : (j, atRight + count);
        }

        return done;
    }

    private static int SameRows(KvSegment a, KvSegment b, int count, KvLayout layout)
    {
        if (!a.Buffer.IsHost || !b.Buffer.IsHost)
        {
            return SameOnDevice(a, b, count, layout);
        }

        int same = count;
        for (int layer = 0; layer < layout.Layers; layer++)
        {
            for (int head = 0; head < layout.KeyValueHeads && same > 0; head++)
            {
                foreach (bool keys in (ReadOnlySpan<bool>)[true, false])
                {
                    int bytes = checked(same * layout.RowBytes);
                    same = new ReadOnlySpan<byte>(Row(a, layer, head, keys), bytes).CommonPrefixLength(new ReadOnlySpan<byte>(Row(b, layer, head, keys), bytes)) / layout.RowBytes;
                }
            }
        }

        return same;
    }

    private static int SameOnDevice(KvSegment a, KvSegment b, int count, KvLayout layout)
    {
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        int same = count;
        for (int layer = 0; layer < layout.Layers; layer++)
        {
            foreach (bool keys in (ReadOnlySpan<bool>)[true, false])
            {
                KvSegment x = a with { End = a.Start + same }, y = b with { End = b.Start + same };
                ReadOnlySpan<bool> equal = (Rows(x, layer, keys) == Rows(y, layer, keys)).all(2).all(0).cpu().data<bool>().ToArray();
                int different = equal.IndexOf(false);
                same = different < 0 ? same : different;
            }
        }

        return same;
    }

    private static byte* Row(KvSegment segment, int layer, int head, bool keys) =>
        keys ? segment.Buffer.Keys(layer, head, segment.Start) : segment.Buffer.Values(layer, head, segment.Start);

    private static torch.Tensor OnHost(KvSegment[] segments, int layer, bool keys) =>
        torch.cat([.. segments.Select(segment => Rows(segment, layer, keys))], 1).cpu().contiguous();

    private static torch.Tensor Rows(KvSegment segment, int layer, bool keys)
    {
        (torch.Tensor k, torch.Tensor v) = segment.Buffer.Tensors(layer);
        return (keys ? k : v).narrow(1, segment.Start, segment.Length);
    }
}

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
            writer.Write(OnHost(segments, segment => KvTensors.Numbers(segment, layer), keys).bytes);
            return;
        }

        for (int head = 0; head < layout.KeyValueHeads; head++)
        {
            foreach (KvSegment segment in segments)
            {
                writer.Write(Place(segment, layer, head, keys).Numbers, (long)segment.Length * layout.RowBytes);
            }
        }
    }

    /// <summary>Writes the scales of 8-bit numbers, <c>[KV, S]</c>.</summary>
    public static void WriteScales(PayloadWriter writer, KvSegment[] segments, int layer, KvLayout layout, bool keys)
    {
        if (segments.Length > 0 && !segments[0].Buffer.IsHost)
        {
            using var scope = torch.NewDisposeScope();
            using var noGrad = torch.no_grad();
            writer.Write(OnHost(segments, segment => KvTensors.Scales(segment, layer), keys).bytes);
            return;
        }

        for (int head = 0; head < layout.KeyValueHeads; head++)
        {
            foreach (KvSegment segment in segments)
            {
                writer.Write((byte*)Place(segment, layer, head, keys).Scales, (long)segment.Length * layout.ScaleBytes);
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
            return OnHost(segments, segment => KvTensors.Read(segment, layer), keys).to(torch.float32).data<float>().ToArray();
        }

        var floats = new float[checked(layout.KeyValueHeads * segments.Sum(segment => segment.Length) * layout.HeadDim)];
        fixed (float* to = floats)
        {
            float* next = to;
            for (int head = 0; head < layout.KeyValueHeads; head++)
            {
                foreach (KvSegment segment in segments)
                {
                    Place(segment, layer, head, keys).CopyTo(new KvPlace(DType.Float32, (byte*)next, null), segment.Length, layout.HeadDim, KernelSet.Current);
                    next += (long)segment.Length * layout.HeadDim;
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
                    KvPlace x = Place(a, layer, head, keys), y = Place(b, layer, head, keys);
                    same = SameRows(x.Numbers, y.Numbers, same, layout.RowBytes);
                    same = layout.HasScales ? SameRows((byte*)x.Scales, (byte*)y.Scales, same, layout.ScaleBytes) : same;
                }
            }
        }

        return same;
    }

    private static int SameRows(byte* a, byte* b, int count, int rowBytes)
    {
        int bytes = checked(count * rowBytes);
        return new ReadOnlySpan<byte>(a, bytes).CommonPrefixLength(new ReadOnlySpan<byte>(b, bytes)) / rowBytes;
    }

    private static int SameOnDevice(KvSegment a, KvSegment b, int count, KvLayout layout)
    {
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        int same = count;
        for (int layer = 0; layer < layout.Layers && same > 0; layer++)
        {
            KvSegment x = a with { End = a.Start + same }, y = b with { End = b.Start + same };
            ((torch.Tensor left, torch.Tensor leftValues), (torch.Tensor right, torch.Tensor rightValues)) = (KvTensors.Numbers(x, layer), KvTensors.Numbers(y, layer));
            torch.Tensor equal = (left == right).logical_and(leftValues == rightValues).all(2);
            if (layout.HasScales)
            {
                ((left, leftValues), (right, rightValues)) = (KvTensors.Scales(x, layer), KvTensors.Scales(y, layer));
                equal = equal.logical_and(left == right).logical_and(leftValues == rightValues);
            }

            ReadOnlySpan<bool> tokens = equal.all(0).cpu().data<bool>().ToArray();
            int different = tokens.IndexOf(false);
            same = different < 0 ? same : different;
        }

        return same;
    }

    private static KvPlace Place(KvSegment segment, int layer, int head, bool keys) => segment.Buffer.Place(layer, head, segment.Start, keys);

    private static torch.Tensor OnHost(KvSegment[] segments, Func<KvSegment, (torch.Tensor Keys, torch.Tensor Values)> read, bool keys) =>
        torch.cat([.. segments.Select(segment => keys ? read(segment).Keys : read(segment).Values)], 1).cpu().contiguous();
}

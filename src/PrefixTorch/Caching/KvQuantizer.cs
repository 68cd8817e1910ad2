using System.Runtime.ExceptionServices;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>Keys and values in 8 bits for a state file, with the error that it makes: the rows of an 8-bit cache (<see cref="Int8Rows"/>), of one that is wider.</summary>
internal static unsafe class KvQuantizer
{
    /// <summary>Quantizes the keys and values of a chain of segments, on all processors. The caller releases the buffer.</summary>
    /// <returns>A full buffer of 8 bits, and what was done to the numbers.</returns>
    /// <exception cref="PrefixTorchException">A number is not one that 8 bits can hold.</exception>
    public static (HostKvBuffer Buffer, RoundingError Error) Quantize(KvSegment[] segments, KvLayout layout)
    {
        var buffer = HostKvBuffer.ToFill(layout with { DType = DType.Int8 }, segments.Sum(segment => segment.Length));
        try
        {
            var errors = new RoundingError[2 * layout.Layers];
            Parallel.For(0, errors.Length, i => errors[i] = Quantize(segments, buffer, i / 2, layout, keys: i % 2 == 0));
            return (buffer, errors.Aggregate((sum, error) => sum + error));
        }
        catch (AggregateException e)
        {
            buffer.Release();
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
            throw;
        }
    }

    private static RoundingError Quantize(KvSegment[] segments, HostKvBuffer buffer, int layer, KvLayout layout, bool keys)
    {
        if (segments.Length > 0 && !segments[0].Buffer.IsHost)
        {
            fixed (float* from = KvRows.Floats(segments, layer, layout, keys))
            {
                return Rows(new KvPlace(DType.Float32, (byte*)from, null), buffer.Place(layer, 0, 0, keys), layout.KeyValueHeads * buffer.Capacity, layout.HeadDim);
            }
        }

        RoundingError error = default;
        for (int head = 0; head < layout.KeyValueHeads; head++)
        {
            int done = 0;
            foreach (KvSegment segment in segments)
            {
                error += Rows(segment.Buffer.Place(layer, head, segment.Start, keys), buffer.Place(layer, head, done, keys), segment.Length, layout.HeadDim);
                done += segment.Length;
            }
        }

        return error;
    }

    private static RoundingError Rows(KvPlace from, KvPlace to, int rows, int width)
    {
        RoundingError error = from.QuantizeTo(to, rows, width, KernelSet.Current);
        int strange = new ReadOnlySpan<float>(to.Scales, rows).IndexOf(float.NaN);
        return strange < 0
            ? error
            : throw new PrefixTorchException($"The keys and values hold {from.FirstBeyond(Int8Rows.LargestNumber, (long)strange * width, width)}, which 8 bits cannot; save the state without quantization, and look for what made it.");
    }
}

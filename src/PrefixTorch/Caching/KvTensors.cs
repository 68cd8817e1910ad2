using PrefixTorch.Kernels;
using static TorchSharp.torch;

namespace PrefixTorch.Caching;

/// <summary>Keys and values of a segment as libtorch reads and writes them, whatever they are stored as. What is made belongs to the caller's scope.</summary>
internal static class KvTensors
{
    /// <summary>Keys and values of a layer, each <c>[KV, n, D]</c>: views where they are floating-point numbers, fp32 copies where they are 8 bits.</summary>
    public static (Tensor Keys, Tensor Values) Read(KvSegment segment, int layer)
    {
        (Tensor keys, Tensor values) = Numbers(segment, layer);
        if (!segment.Buffer.Layout.HasScales)
        {
            return (keys, values);
        }

        (Tensor keyScales, Tensor valueScales) = Scales(segment, layer);
        return (Widen(keys, keyScales), Widen(values, valueScales));

        static Tensor Widen(Tensor codes, Tensor scales) => codes.to(ScalarType.Float32) * scales.unsqueeze(-1);
    }

    /// <summary>Writes keys and values of a layer, each <c>[KV, n, D]</c> on any device in any floating-point type, rounded to the segment's.</summary>
    public static void Write(KvSegment segment, int layer, Tensor keys, Tensor values)
    {
        (Tensor toKeys, Tensor toValues) = Numbers(segment, layer);
        if (!segment.Buffer.Layout.HasScales)
        {
            toKeys.copy_(keys);
            toValues.copy_(values);
            return;
        }

        (Tensor toKeyScales, Tensor toValueScales) = Scales(segment, layer);
        Quantize(keys, toKeys, toKeyScales);
        Quantize(values, toValues, toValueScales);
    }

    /// <summary>The numbers as they are stored, each <c>[KV, n, D]</c>: views.</summary>
    public static (Tensor Keys, Tensor Values) Numbers(KvSegment segment, int layer) => Narrow(segment, segment.Buffer.Tensors(layer));

    /// <summary>The scales of 8-bit numbers, each <c>[KV, n]</c>: views.</summary>
    public static (Tensor Keys, Tensor Values) Scales(KvSegment segment, int layer) => Narrow(segment, segment.Buffer.Scales(layer));

    // The twin of the CPU's RowQuantizer, to the bit.
    private static void Quantize(Tensor numbers, Tensor codes, Tensor scales)
    {
        Tensor wide = numbers.to(ScalarType.Float32), largest = wide.abs().amax([-1]);
        Tensor scale = largest / Int8Rows.Largest, shifted = scale * Int8Rows.Rounding;
        scale = shifted - (shifted - scale);
        scale = scale.masked_fill(scale.lt(Int8Rows.SmallestScale), 0).masked_fill(largest.le(Int8Rows.LargestNumber).logical_not(), double.NaN);
        Tensor inverse = scale.reciprocal().masked_fill(scale.gt(0).logical_not(), 0);
        scales.copy_(scale);
        codes.copy_((wide * inverse.unsqueeze(-1)).nan_to_num(0).round());
    }

    private static (Tensor, Tensor) Narrow(KvSegment segment, (Tensor Keys, Tensor Values) whole) =>
        (whole.Keys.narrow(1, segment.Start, segment.Length), whole.Values.narrow(1, segment.Start, segment.Length));
}

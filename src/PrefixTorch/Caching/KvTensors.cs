using PrefixTorch.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace PrefixTorch.Caching;

/// <summary>Keys and values of a segment as libtorch reads and writes them, whatever they are stored as. What is made belongs to the caller's scope.</summary>
internal static class KvTensors
{
    // Held for good: TorchSharp does not keep a scalar alive while libtorch reads it, and one that nobody holds may be finalized under its hands.
    private static readonly Scalar s_zero = 0, s_notANumber = double.NaN, s_largest = Int8Rows.Largest, s_rounding = Int8Rows.Rounding;
    private static readonly Scalar s_smallestScale = Int8Rows.SmallestScale, s_largestNumber = Int8Rows.LargestNumber;

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
        Tensor scale = largest / s_largest, shifted = scale * s_rounding;
        scale = shifted - (shifted - scale);
        scale = scale.masked_fill(scale.lt(s_smallestScale), s_zero).masked_fill(largest.le(s_largestNumber).logical_not(), s_notANumber);
        Tensor inverse = scale.reciprocal().masked_fill(scale.gt(s_zero).logical_not(), s_zero);
        scales.copy_(scale);
        codes.copy_((wide * inverse.unsqueeze(-1)).nan_to_num(0).round());
    }

    private static (Tensor, Tensor) Narrow(KvSegment segment, (Tensor Keys, Tensor Values) whole) =>
        (whole.Keys.narrow(1, segment.Start, segment.Length), whole.Values.narrow(1, segment.Start, segment.Length));
}

using CsCheck;
using PrefixTorch.Caching;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Caching;

/// <summary>Keys and values in 8 bits, against the definition.</summary>
[Collection(nameof(AloneCollection))]
public sealed unsafe class QuantizerTests
{
    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void EveryNumberIsWithinHalfAStepAndTheErrorIsMeasured(DType dtype) =>
        Gen.Select(Gen.Int[1, 150], Gen.Int[1, 5], Gen.Int[0, 1000], Gen.Float[-3, 3]).Sample((width, rows, seed, exponent) =>
        {
            var random = new Random(seed);
            float[] numbers = [.. Enumerable.Range(0, width * rows).Select(i => i / width == 1 ? 0 : (random.NextSingle() - 0.5f) * MathF.Pow(10, exponent))];
            KvSegment[] segments = Segments(numbers, width, dtype);
            numbers = KvRows.Floats(segments, 0, segments[0].Buffer.Layout, keys: true);
            (HostKvBuffer buffer, RoundingError measured) = KvQuantizer.Quantize(segments, segments[0].Buffer.Layout);
            double error = 0, squares = 0;
            for (int row = 0; row < rows; row++)
            {
                float scale = *buffer.KeyScales(0, 0, row), max = numbers.Skip(row * width).Take(width).Max(MathF.Abs);
                Assert.Equal(max / 127, scale, max / 127 / (1 << 17));
                Assert.Equal(scale, *buffer.ValueScales(0, 0, row));
                for (int i = 0; i < width; i++)
                {
                    float number = numbers[row * width + i];
                    double off = Math.Abs(number - ((sbyte*)buffer.Keys(0, 0, row))[i] * (double)scale);
                    Assert.InRange(off, 0, 0.5001 * scale);
                    error += 2 * off * off;
                    squares += 2 * (double)number * number;
                }
            }

            Assert.Equal(error, measured.SquaredError, 1e-3 * error + 1e-6 * squares);
            Assert.Equal(squares, measured.Squares, 1e-4 * squares);
            buffer.Release();
            Array.ForEach(segments, segment => segment.Buffer.Release());
        }, iter: 100);

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    [InlineData(2e38f)]
    public void WhatIsNotFiniteIsRefused(float strange)
    {
        int before = KvBuffer.LiveCount;
        foreach (int at in new[] { 0, 40, 66, 67 + 3 })
        {
            var numbers = new float[2 * 67];
            numbers[at] = strange;
            KvSegment[] segments = Segments(numbers, 67, DType.Float32);
            string message = Assert.Throws<PrefixTorchException>(() => KvQuantizer.Quantize(segments, segments[0].Buffer.Layout)).Message;
            Assert.Contains($"hold {strange}, which 8 bits cannot", message, StringComparison.Ordinal);
            Array.ForEach(segments, segment => segment.Buffer.Release());
        }

        Assert.InRange(KvBuffer.LiveCount, 0, before);
    }

    // One layer and head, the same numbers as keys and as values; the first row in a segment of its own.
    private static KvSegment[] Segments(float[] numbers, int width, DType dtype)
    {
        int rows = numbers.Length / width;
        return [.. new[] { (0, 1), (1, rows) }.Where(part => part.Item2 > part.Item1).Select(part => Segment(numbers[(part.Item1 * width)..(part.Item2 * width)], width, dtype))];
    }

    private static KvSegment Segment(float[] numbers, int width, DType dtype)
    {
        var buffer = new HostKvBuffer(new KvLayout(1, 1, width, dtype), numbers.Length / width, fills: false);
        fixed (float* from = numbers)
        {
            KernelSet.Current.Convert(DType.Float32, (byte*)from, dtype, buffer.Keys(0, 0, 0), numbers.Length);
            KernelSet.Current.Convert(DType.Float32, (byte*)from, dtype, buffer.Values(0, 0, 0), numbers.Length);
        }

        return new KvSegment(buffer, 0, buffer.Capacity);
    }
}

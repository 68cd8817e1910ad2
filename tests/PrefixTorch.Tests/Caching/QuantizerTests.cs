using CsCheck;
using PrefixTorch.Caching;

namespace PrefixTorch.Tests.Caching;

/// <summary>Rows in 8 bits, against the definition.</summary>
public sealed class QuantizerTests
{
    [Fact]
    public void EveryNumberIsWithinHalfAStepAndTheErrorIsMeasured() =>
        Gen.Select(Gen.Int[1, 150], Gen.Int[1, 5], Gen.Int[0, 1000], Gen.Float[-6, 6]).Sample((width, rows, seed, exponent) =>
        {
            var random = new Random(seed);
            float[] numbers = [.. Enumerable.Range(0, width * rows).Select(i => i / width == 1 ? 0 : (random.NextSingle() - 0.5f) * MathF.Pow(10, exponent))];
            KvQuantizer.Quantized quantized = KvQuantizer.Quantize(numbers, width);
            double error = 0, squares = 0;
            for (int row = 0; row < rows; row++)
            {
                float scale = quantized.Scales[row], max = numbers.Skip(row * width).Take(width).Max(MathF.Abs);
                Assert.Equal(max / 127, scale, max / 127 / (1 << 17));
                for (int i = row * width; i < (row + 1) * width; i++)
                {
                    double off = Math.Abs(numbers[i] - quantized.Numbers[i] * (double)scale);
                    Assert.InRange(off, 0, 0.5001 * scale);
                    error += off * off;
                    squares += (double)numbers[i] * numbers[i];
                }
            }

            Assert.Equal(error, quantized.SquaredError, 1e-3 * error + 1e-6 * squares);
            Assert.Equal(squares, quantized.Squares, 1e-4 * squares);
        }, iter: 300);

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    [InlineData(2e38f)]
    public void WhatIsNotFiniteIsRefused(float strange)
    {
        foreach (int at in new[] { 0, 40, 66 })
        {
            var numbers = new float[67];
            numbers[at] = strange;
            Assert.Contains("which 8 bits cannot", Assert.Throws<PrefixTorchException>(() => KvQuantizer.Quantize(numbers, 67)).Message, StringComparison.Ordinal);
        }
    }
}

using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Weights of scores by machine code, beside the softmax in double precision.</summary>
public unsafe class SoftmaxTests
{
    private static bool IsThere => TileCode.Supports(TileSource.BFloat16);

    [Theory]
    [InlineData(64, false)]
    [InlineData(256, false)]
    [InlineData(192, true)]
    public void WeightsAreExponentialsInBFloat16(int count, bool isScaled)
    {
        Assert.SkipUnless(IsThere, "This processor has no bf16 arithmetic.");
        var random = new Random(count);
        float[] scores = [.. Enumerable.Range(0, count).Select(_ => (float)((random.NextDouble() * 60) - 20))], scales = [.. scores.Select(_ => random.NextSingle())];
        (float max, float sum, ushort[] weights) = Run(scores, isScaled ? scales : null);
        Assert.Equal(scores.Max(), max);
        Assert.Equal(1, sum / scores.Sum(s => Math.Exp((double)s - max)), 1e-6);
        Assert.All(Enumerable.Range(0, count), i =>
        {
            // Half of the last of eight digits.
            double expected = Math.Exp((double)scores[i] - max) * (isScaled ? scales[i] : 1);
            Assert.Equal(1, Value(weights[i]) / expected, 1.001 / 256);
        });
    }

    [Fact]
    public void TheGreatestIsOneAndWhatIsFarBelowItOrNotThereIsZero()
    {
        Assert.SkipUnless(IsThere, "This processor has no bf16 arithmetic.");
        float[] scores = new float[64];
        Array.Fill(scores, float.NegativeInfinity);
        (scores[3], scores[5], scores[63], scores[40]) = (10, 10 - 87, 10 - 88, -float.MaxValue);
        (float max, float sum, ushort[] weights) = Run(scores, null);
        Assert.Equal((10, 1), (max, sum));
        Assert.Equal(1, Value(weights[3]));
        Assert.Equal(1, Value(weights[5]) / Math.Exp(-87), 0.004);
        Assert.All(Enumerable.Range(0, 64).Where(i => i is not (3 or 5)), i => Assert.Equal(0, weights[i]));
    }

    [Fact]
    public void WhatIsNoNumberStaysNone()
    {
        Assert.SkipUnless(IsThere, "This processor has no bf16 arithmetic.");
        float[] scores = [.. Enumerable.Range(0, 64).Select(i => i * 0.1f)];
        scores[17] = float.NaN;
        (_, float sum, ushort[] weights) = Run(scores, null);
        Assert.True(float.IsNaN(sum));
        Assert.True(double.IsNaN(Value(weights[17])));
        Assert.Equal(1, Value(weights[63]));
    }

    [Fact]
    public void EveryPlaceGivesTheSameBits()
    {
        Assert.SkipUnless(IsThere, "This processor has no bf16 arithmetic.");
        float[] scores = [.. Enumerable.Range(0, 128).Select(i => -i * 0.173f)];
        ushort[] expected = Run(scores, null).Weights;
        for (int turn = 1; turn < 128; turn++)
        {
            float[] turned = [.. scores[turn..], .. scores[..turn]];
            Assert.Equal([.. expected[turn..], .. expected[..turn]], Run(turned, null).Weights);
        }
    }

    private static (float Max, float Sum, ushort[] Weights) Run(float[] scores, float[]? scales)
    {
        var weights = new ushort[scores.Length];
        float* partial = stackalloc float[2];
        fixed (float* from = scores, factors = scales)
        fixed (ushort* to = weights)
        {
            TileArguments arguments = new() { X = (byte*)from, XScales = (byte*)factors, Weights = (byte*)to, Steps = scores.Length / SoftmaxEmitter.Step, Y = partial };
            TileCode.GetSoftmax(scales != null)(&arguments);
        }

        return (partial[0], partial[1], weights);
    }

    private static double Value(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}

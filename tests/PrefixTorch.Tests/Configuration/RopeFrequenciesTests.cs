using PrefixTorch.Configuration;

namespace PrefixTorch.Tests.Configuration;

/// <summary>The expected numbers were worked out by hand in double precision from the published formulas.</summary>
public class RopeFrequenciesTests
{
    [Fact]
    public void DefaultIsThetaToTheMinusTwoIOverD() =>
        AreClose([1, 0.1, 0.01, 0.001], RopeFrequencies.Compute(new DefaultRope(10_000), 8));

    [Fact]
    public void LinearDividesByTheFactor() =>
        AreClose([0.25, 0.025, 0.0025, 0.00025], RopeFrequencies.Compute(new LinearRope(10_000, 4), 8));

    [Fact]
    public void Llama3KeepsHighDividesLowAndBlendsBetween()
    {
        // Waves of 2 pi, 62.8, 628 and 6283 tokens; original length 1024: below 256 is high, above 1024 low.
        double smooth = ((1024 / (2 * Math.PI / 0.01)) - 1) / 3;
        AreClose([1, 0.1, ((1 - smooth) * 0.01 / 8) + (smooth * 0.01), 0.001 / 8], RopeFrequencies.Compute(new Llama3Rope(10_000, 8, 1, 4, 1024), 8));
    }

    [Fact]
    public void Llama31KeepsItsFirstFrequenciesAndDividesItsLast()
    {
        var config = LlamaConfigTests.With("""
            {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072, "rope_theta": 500000.0,
             "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}}
            """);
        float[] frequencies = RopeFrequencies.Compute(config).InverseFrequencies.ToArray();
        Assert.Equal(64, frequencies.Length);
        double Plain(int i) => Math.Pow(500_000, -i / 64.0);
        Assert.Equal(Plain(28), frequencies[28], Plain(28) * 1e-6);
        Assert.Equal(Plain(63) / 8, frequencies[63], Plain(63) * 1e-6);
        double wave = 2 * Math.PI / Plain(32);
        double smooth = ((8192 / wave) - 1) / 3;
        Assert.InRange(smooth, 0, 1);
        Assert.Equal(((1 - smooth) * Plain(32) / 8) + (smooth * Plain(32)), frequencies[32], Plain(32) * 1e-5);
    }

    [Fact]
    public void YarnRampsBetweenWholeDimensions()
    {
        // Correction dimensions for 32 and 1 turns over 1024 tokens at D = 8: 0.707 and 2.212, so the ramp goes from 0 to 3.
        var yarn = RopeFrequencies.Compute(new YarnRope(10_000, 4, 1024, 1.1386), 8);
        AreClose([1, (0.1 / 4 / 3) + (0.1 * 2 / 3), (0.01 / 4 * 2 / 3) + (0.01 / 3), 0.001 / 4], yarn);
        Assert.Equal(1.1386f, yarn.AttentionScaling);
    }

    [Fact]
    public void YarnWithoutTruncationRampsBetweenFractions()
    {
        double Dimension(double turns) => 8 * Math.Log(1024 / (turns * 2 * Math.PI)) / (2 * Math.Log(10_000));
        (double low, double high) = (Dimension(32), Dimension(1));
        double Blend(int i, double frequency)
        {
            double ramp = Math.Clamp((i - low) / (high - low), 0, 1);
            return (frequency / 4 * ramp) + (frequency * (1 - ramp));
        }

        AreClose([1, Blend(1, 0.1), Blend(2, 0.01), 0.001 / 4], RopeFrequencies.Compute(new YarnRope(10_000, 4, 1024, 1, Truncate: false), 8));
    }

    [Fact]
    public void ARampOfNoLengthIsAStep()
    {
        // With so short an original length both ends fall on dimension 0.
        float[] frequencies = RopeFrequencies.Compute(new YarnRope(10_000, 4, 2, 1), 8).InverseFrequencies.ToArray();
        Assert.Equal([1f, 0.1f / 4, 0.01f / 4, 0.001f / 4], frequencies, (a, b) => Math.Abs(a - b) < 1e-8);
    }

    private static void AreClose(double[] expected, RopeFrequencies actual)
    {
        float[] frequencies = actual.InverseFrequencies.ToArray();
        Assert.Equal(expected.Length, frequencies.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], frequencies[i], Math.Abs(expected[i]) * 3e-7);
        }
    }
}

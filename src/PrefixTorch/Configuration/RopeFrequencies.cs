namespace PrefixTorch.Configuration;

/// <summary>
/// The angle per position of each pair of dimensions, as Hugging Face computes it: in fp32, in the same order of operations,
/// so that logits agree to the last digits. Made from <see cref="LlamaConfig"/> alone.
/// </summary>
public sealed class RopeFrequencies
{
    private RopeFrequencies(float[] inverseFrequencies, float attentionScaling)
    {
        InverseFrequencies = inverseFrequencies;
        AttentionScaling = attentionScaling;
    }

    /// <summary>Radians per position, <c>[HeadDim / 2]</c>, the fastest first; dimension i turns with dimension i + HeadDim / 2.</summary>
    public ReadOnlyMemory<float> InverseFrequencies { get; }

    /// <summary>What cosine and sine are multiplied by; 1 for all kinds but YaRN.</summary>
    public float AttentionScaling { get; }

    /// <summary>Computes the frequencies of a model.</summary>
    public static RopeFrequencies Compute(LlamaConfig config) => Compute(config.Rope, config.HeadDim);

    /// <summary>Computes the frequencies for heads of <paramref name="headDim"/> dimensions, an even number.</summary>
    public static RopeFrequencies Compute(RopeConfig rope, int headDim) => rope switch
    {
        DefaultRope => new(Default(rope.RopeTheta, headDim), 1),
        LinearRope linear => new(Linear(linear, headDim), 1),
        Llama3Rope llama3 => new(Llama3(llama3, headDim), 1),
        YarnRope yarn => new(Yarn(yarn, headDim), (float)yarn.AttentionFactor),
        _ => throw new ArgumentOutOfRangeException(nameof(rope), rope.RopeType, "This kind of rope is not known here."),
    };

    // theta^(2i / D), the length of the i-th wave over 2 pi.
    private static float[] Periods(double ropeTheta, int headDim)
    {
        var periods = new float[headDim / 2];
        for (int i = 0; i < periods.Length; i++)
        {
            periods[i] = MathF.Pow((float)ropeTheta, 2 * i / (float)headDim);
        }

        return periods;
    }

    private static float[] Default(double ropeTheta, int headDim) => Array.ConvertAll(Periods(ropeTheta, headDim), period => 1 / period);

    private static float[] Linear(LinearRope rope, int headDim) => Array.ConvertAll(Default(rope.RopeTheta, headDim), frequency => frequency / (float)rope.Factor);

    private static float[] Llama3(Llama3Rope rope, int headDim)
    {
        float factor = (float)rope.Factor;
        float lowWave = (float)(rope.OriginalMaxPositionEmbeddings / rope.LowFreqFactor);
        float highWave = (float)(rope.OriginalMaxPositionEmbeddings / rope.HighFreqFactor);
        return Array.ConvertAll(Default(rope.RopeTheta, headDim), frequency =>
        {
            // PyTorch divides a number by a tensor as the tensor's reciprocal times the number.
            float wave = 1 / frequency * (float)(2 * Math.PI);
            if (wave > lowWave)
            {
                return frequency / factor;
            }

            if (wave < highWave)
            {
                return frequency;
            }

            float smooth = ((1 / wave * rope.OriginalMaxPositionEmbeddings) - (float)rope.LowFreqFactor) / (float)(rope.HighFreqFactor - rope.LowFreqFactor);
            return ((1 - smooth) * frequency / factor) + (smooth * frequency);
        });
    }

    private static float[] Yarn(YarnRope rope, int headDim)
    {
        // The dimension whose wave makes so many turns over the original length.
        double Dimension(double turns) =>
            headDim * Math.Log(rope.OriginalMaxPositionEmbeddings / (turns * 2 * Math.PI)) / (2 * Math.Log(rope.RopeTheta));

        double low = Dimension(rope.BetaFast);
        double high = Dimension(rope.BetaSlow);
        if (rope.Truncate)
        {
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        }

        (low, high) = (Math.Max(low, 0), Math.Min(high, headDim - 1));
        if (low == high)
        {
            high += 0.001;
        }

        float[] frequencies = Periods(rope.RopeTheta, headDim);
        for (int i = 0; i < frequencies.Length; i++)
        {
            float ramp = Math.Clamp((i - (float)low) / (float)(high - low), 0, 1);
            float keep = 1 - ramp;
            float extrapolated = 1 / frequencies[i];
            float interpolated = 1 / ((float)rope.Factor * frequencies[i]);
            frequencies[i] = (interpolated * (1 - keep)) + (extrapolated * keep);
        }

        return frequencies;
    }
}

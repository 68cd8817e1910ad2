namespace PrefixTorch.Configuration;

/// <summary>
/// How positions turn queries and keys (rotary position embedding). One record for each kind that Llama checkpoints have, so
/// that a kind cannot slip through unread. Immutable.
/// </summary>
public abstract record RopeConfig
{
    // Only the kinds below: whoever switches over them has seen all.
    private protected RopeConfig(double ropeTheta)
    {
        RopeTheta = ropeTheta;
    }

    /// <summary>The base of the frequencies: 10,000 for Llama 2, 500,000 for Llama 3.</summary>
    public double RopeTheta { get; }

    /// <summary>The kind as <c>rope_type</c> spells it.</summary>
    public abstract string RopeType { get; }
}

/// <summary>Frequencies as in the paper.</summary>
/// <param name="RopeTheta">The base of the frequencies.</param>
public sealed record DefaultRope(double RopeTheta) : RopeConfig(RopeTheta)
{
    /// <inheritdoc/>
    public override string RopeType => "default";
}

/// <summary>Position interpolation: all frequencies divided by one factor.</summary>
/// <param name="RopeTheta">The base of the frequencies.</param>
/// <param name="Factor">What they are divided by.</param>
public sealed record LinearRope(double RopeTheta, double Factor) : RopeConfig(RopeTheta)
{
    /// <inheritdoc/>
    public override string RopeType => "linear";
}

/// <summary>Llama 3.1's: low frequencies are divided by a factor, high ones kept, those between blended.</summary>
/// <param name="RopeTheta">The base of the frequencies.</param>
/// <param name="Factor">What low frequencies are divided by.</param>
/// <param name="LowFreqFactor">A wave longer than the original length over this is low.</param>
/// <param name="HighFreqFactor">A wave shorter than the original length over this is high.</param>
/// <param name="OriginalMaxPositionEmbeddings">The length in tokens that the model was first trained for.</param>
public sealed record Llama3Rope(double RopeTheta, double Factor, double LowFreqFactor, double HighFreqFactor, int OriginalMaxPositionEmbeddings) : RopeConfig(RopeTheta)
{
    /// <inheritdoc/>
    public override string RopeType => "llama3";
}

/// <summary>YaRN: a ramp between interpolated and original frequencies, and a factor on cosine and sine.</summary>
/// <param name="RopeTheta">The base of the frequencies.</param>
/// <param name="Factor">What low frequencies are divided by.</param>
/// <param name="OriginalMaxPositionEmbeddings">The length in tokens that the model was first trained for.</param>
/// <param name="AttentionFactor">What cosine and sine are multiplied by: as given, or resolved from mscale, mscale_all_dim and the factor.</param>
/// <param name="BetaFast">Turns over the original length above which a frequency is kept.</param>
/// <param name="BetaSlow">Turns below which it is divided by the factor.</param>
/// <param name="Truncate">Whether the ramp's ends are rounded to whole dimensions.</param>
public sealed record YarnRope(double RopeTheta, double Factor, int OriginalMaxPositionEmbeddings, double AttentionFactor, double BetaFast = 32, double BetaSlow = 1, bool Truncate = true) : RopeConfig(RopeTheta)
{
    /// <inheritdoc/>
    public override string RopeType => "yarn";
}

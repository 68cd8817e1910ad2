namespace PrefixTorch.Generation;

/// <summary>How a state is verified.</summary>
public sealed record VerificationOptions
{
    /// <summary>Tokens that are continued greedily behind state and suffix, and compared as well.</summary>
    public int NewTokens { get; init; } = 16;

    /// <summary>How the suffix's text meets the state.</summary>
    public Boundary Boundary { get; init; }

    /// <summary>Text of a special token in the suffix becomes the token.</summary>
    public bool ParseSpecial { get; init; }
}

/// <summary>What a verification found.</summary>
public enum VerificationVerdict
{
    /// <summary>Read again in the same pieces, keys, values and logits have the same bits; read as a whole, they are within the tolerance.</summary>
    BitForBit,

    /// <summary>All logits are within the tolerance, and the most likely tokens are the same but where the two best are as close as that.</summary>
    WithinTolerance,

    /// <summary>They are not.</summary>
    OutOfTolerance,
}

/// <summary>The first place where the most likely token differs.</summary>
/// <param name="Position">The position of the token that is chosen.</param>
/// <param name="Cached">What the cache chooses.</param>
/// <param name="Recomputed">What is chosen without it.</param>
/// <param name="Margin">How far apart the two are for the cache.</param>
public sealed record TokenDifference(int Position, int Cached, int Recomputed, double Margin);

/// <summary>The cache against one way of computing everything again.</summary>
/// <param name="Passes">Forward passes that state and suffix were read in.</param>
/// <param name="LargestDistance">The largest distance between two logits.</param>
/// <param name="SameBits">Whether keys and values of the state and all logits are the same, bit for bit.</param>
/// <param name="FirstDifference">The first place where the most likely token differs, or null.</param>
public sealed record VerificationComparison(int Passes, double LargestDistance, bool SameBits, TokenDifference? FirstDifference);

/// <summary>Cached against recomputed, for a state and a suffix.</summary>
/// <param name="StateTokens">Tokens of the state that were used.</param>
/// <param name="SuffixTokens">Tokens that were read behind them.</param>
/// <param name="ComparedTokens">Places whose logits were compared.</param>
/// <param name="Replay">Read again in the pieces that the state was read in.</param>
/// <param name="Whole">Read again as one text, in the pieces that a fresh read takes.</param>
/// <param name="Tolerance">
/// The distance that is allowed: 1e-4 in fp32; with 16-bit weights or keys, where reading in other pieces rounds otherwise, an eighth of the logits' standard deviation.
/// </param>
/// <param name="Verdict">What follows; where the model does not read as it decodes (<see cref="Llama.ReadsAsItDecodes"/>), from <paramref name="Replay"/> alone.</param>
public sealed record VerificationReport(int StateTokens, int SuffixTokens, int ComparedTokens, VerificationComparison Replay, VerificationComparison Whole, double Tolerance, VerificationVerdict Verdict);

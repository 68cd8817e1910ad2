namespace PrefixTorch.Generation;

/// <summary>How the perplexity of a text is measured, and against what.</summary>
public sealed record PerplexityOptions
{
    /// <summary>The text is cut into windows of so many tokens, each read from nothing; the model's own context where that is shorter.</summary>
    public int Context { get; init; } = 2048;

    /// <summary>A model of the same vocabulary that the distributions are compared with: the original of a quantized one, say. It stays the caller's.</summary>
    public Llama? Reference { get; init; }

    /// <summary>
    /// Compute everything a second time as decoding does, by the products of few rows, and compare: a quantized model must be one model, whichever way
    /// its weights are multiplied.
    /// </summary>
    public bool DecodePath { get; init; }
}

/// <summary>How well a model foretells a text.</summary>
/// <param name="Tokens">Tokens of the text.</param>
/// <param name="Scored">Those that were foretold: all but the first of each window.</param>
/// <param name="MeanNegativeLogLikelihood">The mean surprise, in nats.</param>
public sealed record PerplexityReport(int Tokens, int Scored, double MeanNegativeLogLikelihood)
{
    /// <summary>Among so many equally likely tokens the model would be as unsure.</summary>
    public double Perplexity => Math.Exp(MeanNegativeLogLikelihood);

    /// <summary>How far the model is from the reference, where one was given.</summary>
    public Divergence? FromReference { get; init; }

    /// <summary>How far the model's way of decoding is from its way of reading prompts, where that was asked for.</summary>
    public Divergence? OfDecodePath { get; init; }
}

/// <summary>How far the distributions of one way of computing are from those of another, over all tokens that were scored.</summary>
/// <param name="Perplexity">The other's perplexity of the same text.</param>
/// <param name="Mean">The mean Kullback–Leibler distance, in nats: what is lost by taking this one for the other.</param>
/// <param name="Largest">The largest at one token.</param>
/// <param name="SameBest">The share of places where both find the same token the most likely.</param>
public sealed record Divergence(double Perplexity, double Mean, double Largest, double SameBest);

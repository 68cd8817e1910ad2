namespace PrefixTorch.Sampling;

/// <summary>A chosen token.</summary>
/// <param name="Id">Its id.</param>
/// <param name="LogProb">Its log-probability under the model's own distribution, before any processor.</param>
public readonly record struct SampledToken(int Id, float LogProb);

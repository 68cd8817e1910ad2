namespace PrefixTorch.Sampling;

/// <summary>A number to add to the logit of a sequence's last token where the tokens before it are already there.</summary>
/// <param name="Ids">The sequence; of one id: the number is always added.</param>
/// <param name="Bias">The number; negative infinity forbids the sequence.</param>
public readonly record struct SequenceBias(IReadOnlyList<int> Ids, float Bias);

namespace PrefixTorch.Checkpoints;

/// <summary>A weight that a model asks of a checkpoint.</summary>
/// <param name="Name">The tensor's name on disk.</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Optional">It may be absent (<c>lm_head.weight</c> where the embeddings serve for it); where it is there it must have the shape.</param>
internal sealed record ExpectedWeight(string Name, long[] Shape, bool Optional = false);

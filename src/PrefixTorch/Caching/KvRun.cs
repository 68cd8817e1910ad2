namespace PrefixTorch.Caching;

/// <summary>
/// The generation that chose a cache's last tokens: what a later call needs to go on as if it had never stopped. A draw is a function of seed, branch and
/// position, and the position is the cache's length.
/// </summary>
/// <param name="Seed">The seed of the draws; null where the most likely token was taken each time.</param>
/// <param name="Branch">The number of the sequence among those that share the seed.</param>
/// <param name="PromptLength">How many of the cache's tokens were its prompt: where penalties and minimum lengths count from.</param>
public sealed record KvRun(ulong? Seed, long Branch, int PromptLength);

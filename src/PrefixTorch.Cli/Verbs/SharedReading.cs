using PrefixTorch.Caching;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Who answers for reading what several samples go on from.</summary>
internal static class SharedReading
{
    /// <summary>What the reading took is the first sample's; the others had it for nothing.</summary>
    /// <param name="report">The sample's own report, in which everything was there already.</param>
    /// <param name="prefix">What was there before the reading; null: nothing.</param>
    /// <param name="promptIds">What was there after it.</param>
    /// <param name="seconds">How long it took.</param>
    public static GenerationReport WithReading(this GenerationReport report, KvCache? prefix, int[] promptIds, double seconds)
    {
        // All that was there or was computed for the sample: of a prompt that was interrupted, less than the prompt.
        int reused = prefix is null ? 0 : prefix.Tokens.AsSpan().CommonPrefixLength(promptIds), computed = report.Usage.ReusedTokens + report.Usage.ComputedTokens - reused;
        double prefill = seconds + report.Timings.PrefillSeconds;
        return report with
        {
            Usage = report.Usage with { ReusedTokens = reused, ComputedTokens = computed },
            Timings = report.Timings with
            {
                PrefillSeconds = prefill,
                TimeToFirstTokenSeconds = report.Usage.GeneratedTokens == 0 ? 0 : seconds + report.Timings.TimeToFirstTokenSeconds,
                PrefillTokensPerSecond = computed > 0 && prefill > 0 ? computed / prefill : 0,
            },
            Reuse = prefix is not null && reused < prefix.Length ? $"the tokenizer merges across the border: {prefix.Length - reused} of the prefix's tokens read again" : report.Reuse,
        };
    }
}

using System.CommandLine;
using System.Globalization;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli.Options;

/// <summary>What is measured, and how often.</summary>
internal sealed class BenchOptions : OptionSet
{
    private const string None = "none";

    public BenchOptions()
    {
        Prefill = Text("--pp", "N,N,…", "Prefill: prompts of so many tokens; otherwise 128,512,2048. none: not at all, here and below.");
        DecodeAt = Text("--tgat", "N,N,…", "Decode: contexts of so many tokens; otherwise 16,512,2048.");
        Decode = Integer("--tg", "Tokens decoded there; otherwise 48.", least: 2);
        Save = Text("--save", "N,N,…", "States of so many tokens, saved, restored, cloned and cut; otherwise 512,2048.");
        Prefix = Integer("--prefix", "Time to first token, and branches: a prefix of so many tokens; otherwise 2048. 0: not at all.");
        Suffix = Integer("--suffix", "Time to first token: a suffix of so many tokens; otherwise 16.", least: 1);
        Branches = Integer("--branches", "Branches side by side; otherwise 16. 0: not at all.");
        BranchTokens = Integer("--branch-tokens", "New tokens of each branch; otherwise 32.", least: 1);
        Repetitions = Integer("--reps", "Repetitions of each, of which the median counts; otherwise 3.", least: 1);
    }

    public Option<string?> Prefill { get; }

    public Option<string?> DecodeAt { get; }

    public Option<int?> Decode { get; }

    public Option<string?> Save { get; }

    public Option<int?> Prefix { get; }

    public Option<int?> Suffix { get; }

    public Option<int?> Branches { get; }

    public Option<int?> BranchTokens { get; }

    public Option<int?> Repetitions { get; }

    /// <summary>The lengths that an option lists.</summary>
    /// <exception cref="UsageException">One is no length.</exception>
    public static int[] Lengths(VerbCall call, Option<string?> option, string otherwise)
    {
        string text = call.Get(option) ?? otherwise;
        return text == None ? [] : [.. text.Split(',').Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int length) && length > 0
            ? length
            : throw new UsageException(TypedOption.Wrong(option.Name, text, $"lengths from 1 with commas between them, or {None}")))];
    }
}

using System.CommandLine;
using PrefixTorch.Cli.Verbs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Options;

/// <summary>How texts become tokens.</summary>
internal class TextOptions : OptionSet
{
    public TextOptions()
    {
        Special = Flag("--special", "The text of a special token becomes that token; otherwise it stays text.");
    }

    public Option<bool> Special { get; }
}

/// <summary>How texts become tokens, and how a suffix meets its prefix.</summary>
internal sealed class SuffixOptions : TextOptions
{
    public SuffixOptions()
    {
        Boundary = Choice("--boundary", "exact: as if prefix and suffix were one text (default); raw: the suffix alone; strict: an error where the tokenizer merges across the border.", "exact", "raw", "strict");
    }

    public Option<string?> Boundary { get; }

    /// <summary>The boundary that the command line names.</summary>
    public Boundary ReadBoundary(VerbCall call) => Enum.Parse<Boundary>(call.Get(Boundary) ?? nameof(Generation.Boundary.Exact), ignoreCase: true);
}

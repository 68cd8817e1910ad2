using System.CommandLine;

namespace PrefixTorch.Cli.Options;

/// <summary>How texts are read.</summary>
internal sealed class TextOptions : OptionSet
{
    public TextOptions()
    {
        Special = Flag("--special", "The text of a special token becomes that token; otherwise it stays text.");
    }

    public Option<bool> Special { get; }
}

using System.CommandLine;

namespace PrefixTorch.Cli.Options;

/// <summary>How results are shown; with every verb.</summary>
internal sealed class OutputOptions : OptionSet
{
    public OutputOptions()
    {
        Json = Flag("--json", "One JSON document on standard output, for programs.");
        Quiet = Flag("--quiet", "No notes and no progress on standard error; errors still.", "-q");
        Verbose = Flag("--verbose", "More notes on standard error.", "-v");
    }

    public Option<bool> Json { get; }

    public Option<bool> Quiet { get; }

    public Option<bool> Verbose { get; }
}

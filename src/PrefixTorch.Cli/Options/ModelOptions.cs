using System.CommandLine;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli.Options;

/// <summary>Which model.</summary>
internal class ModelOptions : OptionSet
{
    public ModelOptions()
    {
        Model = Text("--model", "DIR", $"A folder with a checkpoint as Hugging Face publishes it; otherwise {ModelFolder.Default}, beside the program or above the current folder.", "-m");
    }

    public Option<string?> Model { get; }

    /// <summary>The folder: the one given, or the default's.</summary>
    public string Folder(VerbCall call) => call.Get(Model) ?? ModelFolder.Find();
}

using System.CommandLine;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli.Options;

/// <summary>Which model.</summary>
internal class ModelOptions : OptionSet
{
    public ModelOptions()
    {
        Model = Text("--model", "DIR|NAME", $"A folder with a checkpoint as Hugging Face publishes it, or the name of a pulled one, as org/name or org/name@revision; otherwise {ModelFolder.Default}, beside the program or above the current folder.", "-m");
    }

    public Option<string?> Model { get; }

    /// <summary>The folder: the one given, a pulled model's, or the default's.</summary>
    /// <exception cref="PrefixTorchException">There is no such model.</exception>
    public string Folder(VerbCall call) => call.Get(Model) is string given ? ModelFolder.Resolve(given) : ModelFolder.Find();
}

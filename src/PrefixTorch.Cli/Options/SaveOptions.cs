using System.CommandLine;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli.Options;

/// <summary>Whether the state is kept.</summary>
internal sealed class SaveOptions : OptionSet
{
    public SaveOptions(bool required)
    {
        Save = Text("--save", "FILE", "Keep the state, also when interrupted: a safetensors file.");
        Save.Required = required;
    }

    public Option<string?> Save { get; }

    /// <summary>Checks, before there is anything to lose, that there will be one state to keep and a place for it, if one is to be kept.</summary>
    /// <param name="call">The command line.</param>
    /// <param name="results">How many results there will be.</param>
    /// <param name="kept">The files that must stay as they are.</param>
    /// <exception cref="UsageException">There are several results.</exception>
    /// <exception cref="PrefixTorchException">The file cannot be written.</exception>
    public void Check(VerbCall call, int results = 1, Func<IEnumerable<string>>? kept = null)
    {
        if (call.Get(Save) is not string path)
        {
            return;
        }

        if (results > 1)
        {
            throw new UsageException($"{Save.Name} keeps one state, and there would be {results} results; ask for one.");
        }

        Target.CheckFile(Save.Name, path, kept?.Invoke());
    }

    /// <summary>Keeps the state if it is to be kept.</summary>
    /// <param name="call">The command line.</param>
    /// <param name="cache">The state.</param>
    /// <param name="how">How it is written; null: as a whole.</param>
    public void Keep(VerbCall call, KvCache cache, KvSaveOptions? how = null)
    {
        if (call.Get(Save) is string path)
        {
            cache.Save(path, how);
            call.Output.Note($"{cache.Length} tokens saved to {path} ({new FileInfo(path).Length:N0} bytes)");
        }
    }
}

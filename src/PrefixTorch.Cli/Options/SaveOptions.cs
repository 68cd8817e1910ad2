using System.CommandLine;
using PrefixTorch.Caching;
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

    /// <summary>Checks that there is one state to keep, if one is to be kept.</summary>
    /// <exception cref="UsageException">There are several.</exception>
    public void CheckSingle(VerbCall call, int results)
    {
        if (call.Get(Save) is not null && results > 1)
        {
            throw new UsageException($"{Save.Name} keeps one state, and there would be {results} results; ask for one.");
        }
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

using System.CommandLine;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli.Options;

/// <summary>Whether a kept state holds everything, or only what follows the state that it continues.</summary>
internal sealed class DeltaOptions : OptionSet
{
    private readonly Option<bool> _delta;

    public DeltaOptions()
    {
        _delta = Flag("--delta", "With --save: write only what follows the state, a small file that needs the state's to be read.");
    }

    /// <summary>How states are written.</summary>
    /// <param name="call">The command line.</param>
    /// <param name="from">The state that is continued, or none.</param>
    /// <param name="save">Whether states are written at all.</param>
    /// <exception cref="UsageException">There is nothing that a delta could follow, or no delta to write.</exception>
    public KvSaveOptions Read(VerbCall call, StateOptions from, bool save) => !call.Get(_delta) ? new KvSaveOptions()
        : call.Get(from.State) is not string parent ? throw new UsageException($"{_delta.Name} writes what follows a state, and there is none; give {from.State.Name} FILE.")
        : call.Get(from.Convert) ? throw new UsageException($"{_delta.Name} and {from.Convert.Name} were both given: a delta cannot follow a converted state, whose file holds other keys and values; save without {_delta.Name}.")
        : !save ? throw new UsageException($"{_delta.Name} says how --save writes, which was not given.")
        : new KvSaveOptions { Parent = parent };
}

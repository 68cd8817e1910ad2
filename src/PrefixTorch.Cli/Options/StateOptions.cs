using System.CommandLine;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Verbs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Options;

/// <summary>Which state is continued, and how it is read.</summary>
internal sealed class StateOptions : OptionSet
{
    public StateOptions(bool required = true)
    {
        State = Text("--state", "FILE", "The state to continue from, as prefill saved it.");
        State.Required = required;
        Trust = Flag("--trust", "Believe the state's keys and values without comparing their checksums.");
        Convert = Flag("--convert", "Convert keys and values where the state holds another dtype.");
        StatePath = Texts("--state-path", "DIR", "Where parents of delta files are looked for, after the file's own folder.");
    }

    public Option<string?> State { get; }

    public Option<bool> Trust { get; }

    public Option<bool> Convert { get; }

    public Option<string[]> StatePath { get; }

    /// <summary>Restores the state. The caller disposes it.</summary>
    public KvCache Load(VerbCall call, Llama llama) => KvCache.Load(call.Get(State)!, llama, Read(call));

    /// <summary>Full paths of the files that must stay as they are, or the state, or what is written now, could not be read any more.</summary>
    /// <param name="call">The command line.</param>
    /// <param name="how">How the result is written: where it names a parent, that must stay too.</param>
    public IEnumerable<string> MustStay(VerbCall call, KvSaveOptions how) =>
        call.Get(State) is string state ? KvStates.Files(state, call.Get(StatePath)).Skip(how.Parent is null ? 1 : 0) : [];

    /// <summary>How states are read.</summary>
    public KvLoadOptions Read(VerbCall call) => new() { Trust = call.Get(Trust), Convert = call.Get(Convert), StatePath = call.Get(StatePath) ?? [] };
}

using System.CommandLine;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;

namespace PrefixTorch.Cli.Verbs;

/// <summary>One verb of the command line: its options, its help, and what it does.</summary>
internal abstract class Verb : Command
{
    private readonly OutputOptions _output = new();

    /// <summary>Describes a verb.</summary>
    /// <param name="streams">What it reads from and writes to.</param>
    /// <param name="name">The word.</param>
    /// <param name="description">What it does, for help.</param>
    /// <param name="examples">What follows the word in lines that one would type.</param>
    protected Verb(Streams streams, string name, string description, params string[] examples) : base(name, description)
    {
        Examples = examples;
        SetAction((parsed, cancellation) =>
        {
            var output = new Output(streams, parsed.GetValue(_output.Json), parsed.GetValue(_output.Quiet), parsed.GetValue(_output.Verbose));
            return RunAsync(new VerbCall(parsed, new TextSource(streams), output), cancellation);
        });
    }

    /// <summary>What follows the word in lines that one would type.</summary>
    public IReadOnlyList<string> Examples { get; }

    /// <summary>The words that call it: its own, and before it those of the verbs that it is a part of.</summary>
    public string Words => Parents.OfType<Verb>().FirstOrDefault() is { } whole ? $"{whole.Words} {Name}" : Name;

    /// <summary>Does it.</summary>
    /// <returns>The exit code.</returns>
    protected abstract Task<int> RunAsync(VerbCall call, CancellationToken cancellation);

    /// <summary>Adds the options that every verb has, which help shows last.</summary>
    public void AddOutputOptions()
    {
        Use(_output);
        foreach (Verb part in Subcommands.OfType<Verb>())
        {
            part.AddOutputOptions();
        }
    }

    /// <summary>Adds options that verbs share.</summary>
    protected void Use(params OptionSet[] sets)
    {
        foreach (Option option in sets.SelectMany(set => set))
        {
            Add(option);
        }
    }
}

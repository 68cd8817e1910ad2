using System.CommandLine;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli.Options;

/// <summary>What is read: a text, or ids.</summary>
internal sealed class PromptOptions : OptionSet
{
    public PromptOptions()
    {
        Prompt = Text("--prompt", "TEXT", "The prompt, @file, or - for standard input.", "-p");
        Ids = Text("--ids", "FILE", "The prompt as ids: a JSON array, or an object with input_ids; - for standard input.");
    }

    public Option<string?> Prompt { get; }

    public Option<string?> Ids { get; }

    /// <summary>The prompt that the command line gives.</summary>
    /// <exception cref="UsageException">There is none, or there are two.</exception>
    public Prompt Read(VerbCall call) => (call.Get(Prompt), call.Get(Ids)) switch
    {
        (string text, null) => new Prompt(call.Texts.Read(text, Prompt.Name), null),
        (null, string file) => new Prompt(null, IdsFile.Parse(call.Texts.ReadPath(file, Ids.Name), file == "-" ? "Standard input" : file)),
        (null, null) => throw new UsageException($"No prompt was given: {Prompt.Name} TEXT, or {Ids.Name} FILE."),
        _ => throw new UsageException($"{Prompt.Name} and {Ids.Name} were both given; the prompt is one of them."),
    };
}

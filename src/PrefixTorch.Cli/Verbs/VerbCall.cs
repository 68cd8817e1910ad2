using System.CommandLine;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Outputs;

namespace PrefixTorch.Cli.Verbs;

/// <summary>One use of a verb: its arguments, where texts come from, where results go.</summary>
internal sealed record VerbCall(ParseResult Parsed, TextSource Texts, Output Output)
{
    /// <summary>The value of an option; its type's default where it was not given.</summary>
    public T? Get<T>(Option<T> option) => Parsed.GetValue(option);

    /// <summary>The value of an argument.</summary>
    public T? Get<T>(Argument<T> argument) => Parsed.GetValue(argument);

    /// <summary>Whether an option was given.</summary>
    public bool Has(Option option) => Parsed.GetResult(option) is { Implicit: false };
}

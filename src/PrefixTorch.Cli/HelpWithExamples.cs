using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli;

/// <summary>The usual help, and below it what one would type.</summary>
internal sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
{
    private static readonly string[] s_rootExamples = ["demo", "generate --prompt \"Prince Andrew\" --max-new-tokens 40", "generate --help"];

    /// <summary>Asking for help is never a wrong command line.</summary>
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        int result = help.Invoke(parseResult);
        TextWriter output = parseResult.InvocationConfiguration.Output;
        output.WriteLine("Examples:");
        foreach (string example in parseResult.CommandResult.Command is Verb verb ? verb.Examples.Select(rest => $"{verb.Words} {rest}") : s_rootExamples)
        {
            output.WriteLine($"  {CommandLine.Name} {example}".TrimEnd());
        }

        return result;
    }
}

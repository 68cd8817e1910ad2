using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli;

/// <summary>The usual help, and below it what one would type.</summary>
internal sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
{
    private static readonly string[] s_rootExamples = ["demo", "generate --prompt \"Prince Andrew\" --max-new-tokens 40", "generate --help"];

    /// <summary>Asking for help is never a wrong command line.</summary>
    public override bool ClearsParseErrors => true;

    private static bool TakesText(Command command) => command.Options.Any(option => option.HelpName == TypedOption.TextValue) || command.Arguments.Any(argument => argument.HelpName == TypedOption.TextValue);

    public override int Invoke(ParseResult parseResult)
    {
        int result = help.Invoke(parseResult);
        TextWriter output = parseResult.InvocationConfiguration.Output;
        if (TakesText(parseResult.CommandResult.Command))
        {
            output.WriteLine($"A TEXT is taken as it is. @file is that file's content, - all of standard input, both in UTF-8; @@text is the text @text.{Environment.NewLine}");
        }

        output.WriteLine("Examples:");
        foreach (string example in parseResult.CommandResult.Command is Verb verb ? verb.Examples.Select(rest => $"{verb.Words} {rest}") : s_rootExamples)
        {
            output.WriteLine($"  {CommandLine.Name} {example}".TrimEnd());
        }

        return result;
    }
}

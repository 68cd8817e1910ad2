using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli;

/// <summary>From arguments to an exit code: parses, runs the verb, and turns every error into one line and a number.</summary>
internal static class CommandLine
{
    /// <summary>The command's name.</summary>
    public const string Name = "prefixtorch";

    /// <summary>Runs a command line as the program does, with streams that are no terminals.</summary>
    public static Task<int> RunAsync(string[] args, TextReader input, TextWriter output, TextWriter error, CancellationToken cancellation = default) =>
        RunAsync(args, new Streams(input, output, error), cancellation);

    /// <summary>Runs a command line.</summary>
    public static async Task<int> RunAsync(string[] args, Streams streams, CancellationToken cancellation)
    {
        // @ begins the name of a file with text here, not one with further arguments; and -5 or -n may begin a text.
        var parser = new ParserConfiguration { ResponseFileTokenReplacer = null, EnablePosixBundling = false };
        ParseResult parsed = Build(streams).Parse(args.Length == 0 ? ["--help"] : [.. args.SelectMany(SplitEmptyValue)], parser);
        if (parsed.Action is ParseErrorAction)
        {
            // What was not understood is the cause where there is any; that something is missing is then its consequence.
            string[] messages = [.. parsed.Errors.Select(error => error.Message)];
            string message = messages.FirstOrDefault(text => parsed.UnmatchedTokens.Any(token => text.Contains(token, StringComparison.Ordinal))) ?? messages[0];
            return await ReportUsageAsync(streams, parsed, message).ConfigureAwait(false);
        }

        var invocation = new InvocationConfiguration { Output = streams.Out, Error = streams.Err, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
        try
        {
            return await parsed.InvokeAsync(invocation, cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            await streams.Err.WriteLineAsync($"{Name}: interrupted").ConfigureAwait(false);
            return ExitCode.Interrupted;
        }
        catch (UsageException error)
        {
            return await ReportUsageAsync(streams, parsed, error.Message).ConfigureAwait(false);
        }
        catch (Exception error) when (Cause(error) is PrefixTorchException or IOException or UnauthorizedAccessException or OutOfMemoryException)
        {
            await streams.Err.WriteLineAsync($"{Name}: {OneLine(Cause(error).Message)}").ConfigureAwait(false);
            return ExitCode.Failed;
        }
        catch (Exception error)
        {
            // Not foreseen, so an error of the program: one line for who uses it, all of it for who looks for it.
            bool verbose = args.Contains("-v") || args.Contains("--verbose");
            await streams.Err.WriteLineAsync(verbose ? $"{Name}: {error}" : $"{Name}: unexpected {error.GetType().Name}: {OneLine(error.Message)} (-v tells where; please report it)").ConfigureAwait(false);
            return ExitCode.Failed;
        }
    }

    /// <summary>The verbs and what is common to them.</summary>
    internal static RootCommand Build(Streams streams)
    {
        var root = new RootCommand("Continue from a prompt that was read once: Llama in C# on TorchSharp, with a KV cache that is a value.")
        {
            new DemoVerb(streams),
            new GenerateVerb(streams),
            new PrefillVerb(streams),
            new ContinueVerb(streams),
            new BranchVerb(streams),
            new ChatVerb(streams),
            new PullVerb(streams),
            new VerifyVerb(streams),
            new StateVerb(streams),
            new QuantizeVerb(streams),
            new BenchVerb(streams),
            new TokenizeVerb(streams),
            new DetokenizeVerb(streams),
            new InspectVerb(streams),
            new LogitsVerb(streams),
            new PerplexityVerb(streams),
        };
        foreach (Verb verb in root.Subcommands.Cast<Verb>())
        {
            verb.AddOutputOptions();
        }

        foreach (HelpOption help in root.Options.OfType<HelpOption>())
        {
            help.Action = new HelpWithExamples((HelpAction)help.Action!);
        }

        return root;
    }

    // "--suffix=" is an empty suffix; the parser would miss its value.
    private static string[] SplitEmptyValue(string argument) =>
        argument.StartsWith("--", StringComparison.Ordinal) && argument.IndexOf('=', StringComparison.Ordinal) == argument.Length - 1 && !argument.Contains(' ', StringComparison.Ordinal)
            ? [argument[..^1], ""]
            : [argument];

    private static async Task<int> ReportUsageAsync(Streams streams, ParseResult parsed, string message)
    {
        string verb = parsed.CommandResult.Command is Verb known ? $" {known.Words}" : "";
        await streams.Err.WriteLineAsync($"{Name}: {OneLine(message)} See {Name}{verb} --help.").ConfigureAwait(false);
        return ExitCode.Usage;
    }

    // What is found once in a process, as which instructions there are, fails inside a type's initializer, and that on a thread of the kernels.
    private static Exception Cause(Exception error)
    {
        Exception? inner = error;
        while (inner is TypeInitializationException or InvalidOperationException or AggregateException)
        {
            inner = inner.InnerException;
        }

        return inner as PrefixTorchException ?? error;
    }

    private static string OneLine(string message) => string.Join(' ', message.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
}

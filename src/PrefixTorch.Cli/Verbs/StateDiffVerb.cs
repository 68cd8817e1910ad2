using System.CommandLine;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Options;

namespace PrefixTorch.Cli.Verbs;

/// <summary>How two state files differ.</summary>
internal sealed class StateDiffVerb : Verb
{
    private readonly Argument<string> _a = TypedOption.Path<string>("a", "A", "A state file.", ArgumentArity.ExactlyOne);
    private readonly Argument<string> _b = TypedOption.Path<string>("b", "B", "Another.", ArgumentArity.ExactlyOne);
    private readonly Option<string[]> _statePath = TypedOption.Texts("--state-path", "DIR", "Where parents of delta files are looked for, after the file's own folder.");

    public StateDiffVerb(Streams streams)
        : base(streams, "diff", "How two states differ: tokens in common, what must match and does not, the distance of their keys and values.", "a.safetensors b.safetensors", "a.safetensors b.safetensors --json")
    {
        Add(_a);
        Add(_b);
        Add(_statePath);
    }

    protected override Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        (string a, string b) = (call.Get(_a)!, call.Get(_b)!);
        KvStateDiff diff = KvStates.Diff(a, b, call.Get(_statePath));
        if (call.Output.Json)
        {
            call.Output.Document(new
            {
                diff.LengthA,
                diff.LengthB,
                diff.CommonTokens,
                diff.NextA,
                diff.NextB,
                Differences = diff.Differences.Select(difference => new { difference.What, difference.A, difference.B }),
                diff.LargestDistance,
            });
            return Task.FromResult(ExitCode.Done);
        }

        call.Output.Rows(
            ["", a, b],
            [
                ["tokens", $"{diff.LengthA}", $"{diff.LengthB}"],
                ["in common", $"{diff.CommonTokens}", $"{diff.CommonTokens}"],
                ["then", Token(diff.NextA), Token(diff.NextB)],
                .. diff.Differences.Select(difference => new[] { difference.What, difference.A, difference.B }),
            ]);
        call.Output.WriteLine(diff.LargestDistance is double distance
            ? $"The keys and values of the {diff.CommonTokens} tokens in common differ by {distance:G4} at most."
            : "Their keys and values have different shapes and cannot be compared.");
        return Task.FromResult(ExitCode.Done);
    }

    private static string Token(int? id) => id is null ? "the end" : $"{id}";
}

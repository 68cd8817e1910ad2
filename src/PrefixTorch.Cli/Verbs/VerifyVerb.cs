using System.CommandLine;
using System.Text.Json;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Options;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Cached against recomputed.</summary>
internal sealed class VerifyVerb : Verb
{
    private readonly StateOptions _state = new();
    private readonly Option<string?> _suffix = TypedOption.Text("--suffix", "TEXT", "What is read behind the state and compared as well, @file, or - for standard input; without it: nothing.", "-s");
    private readonly Option<int?> _newTokens = TypedOption.Integer("--max-new-tokens", "Tokens that are continued greedily and compared as well; otherwise 16.", least: 0);
    private readonly SuffixOptions _text = new();
    private readonly LoadOptions _load = new();

    public VerifyVerb(Streams streams)
        : base(streams, "verify", "Show what a state is worth: continued from the state, and computed again from nothing, in the same pieces and as a whole.", "--state question.safetensors", "--state question.safetensors --suffix \" The three main types are:\" --max-new-tokens 32 --json")
    {
        Use(_state);
        Add(_suffix);
        Add(_newTokens);
        Use(_text, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        string? suffix = call.Get(_suffix) is string text ? call.Texts.Read(text, _suffix.Name) : null;
        var options = new VerificationOptions { Boundary = _text.ReadBoundary(call), ParseSpecial = call.Get(_text.Special) };
        options = options with { NewTokens = call.Get(_newTokens) ?? options.NewTokens };
        using Llama llama = await _load.LoadAsync(call, cancellation, call.Get(_state.StatePath)).ConfigureAwait(false);
        using KvCache state = _state.Load(call, llama);
        VerificationReport report = await llama.VerifyAsync(state, suffix, options, cancellation).ConfigureAwait(false);
        string verdict = JsonNamingPolicy.SnakeCaseLower.ConvertName(report.Verdict.ToString());
        if (call.Output.Json)
        {
            call.Output.Document(new { Model = llama.Name, State = call.Get(_state.State), report.StateTokens, report.SuffixTokens, report.ComparedTokens, report.Replay, report.Whole, report.Tolerance, Verdict = verdict });
        }
        else
        {
            call.Output.Rows(["", "passes", "largest logit distance", "same bits", "first token that differs"], [Row("in the same pieces", report.Replay), Row("as one whole read", report.Whole)]);
        }

        if (report.Verdict == VerificationVerdict.OutOfTolerance)
        {
            double distance = Math.Max(report.Replay.LargestDistance, report.Whole.LargestDistance);
            throw new PrefixTorchException($"{call.Get(_state.State)} and a recompute differ by {distance:G4} in their logits, and {report.Tolerance:G4} is allowed, or choose other tokens. Make the state again with this model and these options.");
        }

        call.Output.Note($"{report.ComparedTokens} places behind {report.StateTokens} + {report.SuffixTokens} tokens: {verdict.Replace('_', ' ')} (tolerance {report.Tolerance:G3})");
        return ExitCode.Done;
    }

    private static string[] Row(string name, VerificationComparison comparison) =>
        [name, $"{comparison.Passes}", $"{comparison.LargestDistance:G4}", comparison.SameBits ? "yes" : "no", comparison.FirstDifference is { } difference ? $"{difference.Cached} or {difference.Recomputed} at {difference.Position}, {difference.Margin:G3} apart" : "none"];
}

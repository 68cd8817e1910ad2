using System.CommandLine;
using System.Diagnostics;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>How well a model foretells a text, and what quantization costs.</summary>
internal sealed class PerplexityVerb : Verb
{
    private readonly Option<string?> _textOption = TypedOption.Text("--text", "TEXT", "The text, @file, or - for standard input.");
    private readonly Option<string?> _against = TypedOption.Text("--against", "DIR|NAME", "A model with the same tokenizer that the distributions are compared with; otherwise the same one, where --against-dtype or --against-kv-dtype is given.");
    private readonly Option<string?> _againstDType = TypedOption.Choice("--against-dtype", "How the weights of that model are held; auto: as stored.", LoadOptions.DTypeWords);
    private readonly Option<string?> _againstKvDType = TypedOption.Choice("--against-kv-dtype", "How the keys and values of that model are held, whatever --kv-dtype says of the first; auto (default): as the arithmetic.", LoadOptions.KvDTypeWords);
    private readonly Option<bool> _decode = new("--decode") { Description = "Compute everything as decoding does as well, by the products of few rows, and compare the two ways." };
    private readonly Option<int?> _context = TypedOption.Integer("--context", "The text is cut into windows of so many tokens, each read from nothing; otherwise 2048, or the model's context where that is shorter.", least: 2);
    private readonly Option<int?> _maxTokens = TypedOption.Integer("--max-tokens", "Only the text's first N tokens.", least: 2);
    private readonly TextOptions _text = new();
    private readonly LoadOptions _load = new();

    public PerplexityVerb(Streams streams)
        : base(streams, "perplexity", "How well a model foretells a text, and how far its distributions are from those of another model or dtype.", "--text @book.txt --max-tokens 2048", "--text @book.txt --dtype int4 --against-dtype auto --decode --json", "--text @book.txt --kv-dtype int8 --against-kv-dtype auto")
    {
        _textOption.Required = true;
        Add(_textOption);
        Add(_against);
        Add(_againstDType);
        Add(_againstKvDType);
        Add(_decode);
        Add(_context);
        Add(_maxTokens);
        Use(_text, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        string text = call.Texts.Read(call.Get(_textOption)!, _textOption.Name);
        (string? against, string? dtype, string? kvDType) = (call.Get(_against), call.Get(_againstDType), call.Get(_againstKvDType));
        using Llama llama = await _load.LoadAsync(call, cancellation).ConfigureAwait(false);
        using Llama? reference = against is null && dtype is null && kvDType is null ? null : await _load.LoadOtherAsync(call, against, dtype, kvDType, cancellation).ConfigureAwait(false);
        int[] ids = llama.Tokenizer.Encode(text, parseSpecial: call.Get(_text.Special));
        ids = ids[..Math.Min(ids.Length, call.Get(_maxTokens) ?? ids.Length)];
        var options = new PerplexityOptions { Reference = reference, DecodePath = call.Get(_decode) };
        options = options with { Context = call.Get(_context) ?? options.Context };
        long start = Stopwatch.GetTimestamp();
        using var bar = new PrefillBar(call.Output);
        PerplexityReport report = await llama.PerplexityAsync(ids, options, bar, cancellation).ConfigureAwait(false);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        if (call.Output.Json)
        {
            call.Output.Document(new
            {
                Model = llama.Name,
                llama.Arithmetic,
                report.Tokens,
                report.Scored,
                report.MeanNegativeLogLikelihood,
                report.Perplexity,
                Against = report.FromReference is { } from ? new { Model = reference!.Name, reference.Arithmetic, from.Perplexity, MeanKl = from.Mean, MaxKl = from.Largest, from.SameBest } : null,
                Decode = report.OfDecodePath is { } of ? new { of.Perplexity, MeanKl = of.Mean, MaxKl = of.Largest, of.SameBest } : null,
                Seconds = seconds,
            });
        }
        else
        {
            List<string[]> rows = [[llama.Name, $"{report.Perplexity:F4}", "", "", ""]];
            Add(rows, reference is null ? "" : $"against {reference.Name}", report.FromReference);
            Add(rows, "the same, as decoding computes", report.OfDecodePath);
            call.Output.Rows(["", "perplexity", "mean KL distance", "largest", "same best token"], rows);
        }

        call.Output.Note($"{report.Scored} of {report.Tokens} tokens foretold, in {seconds:F1} s");
        return ExitCode.Done;
    }

    private static void Add(List<string[]> rows, string name, Divergence? divergence)
    {
        if (divergence is not null)
        {
            rows.Add([name, $"{divergence.Perplexity:F4}", $"{divergence.Mean:G4}", $"{divergence.Largest:G4}", $"{divergence.SameBest:P1}"]);
        }
    }
}

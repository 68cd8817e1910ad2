using System.CommandLine;
using System.Globalization;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Options;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Ids to text.</summary>
internal sealed class DetokenizeVerb : Verb
{
    private readonly ModelOptions _model = new();
    private readonly Argument<string[]> _argument = new("ids") { HelpName = "ID", Description = "The ids, apart or as one JSON array.", Arity = ArgumentArity.ZeroOrMore };
    private readonly Option<string?> _file = TypedOption.Text("--ids", "FILE", "A JSON array of ids, or an object with input_ids; - for standard input.");
    private readonly Option<bool> _skipSpecial = new("--skip-special") { Description = "Leave special tokens out of the text." };
    private readonly Option<bool> _lines = new("--lines") { Description = "One array of ids a line in, one JSON document a line out." };

    public DetokenizeVerb(Streams streams)
        : base(streams, "detokenize", "Token ids to text.", "4080 1363 547", "--ids ids.json --skip-special", "--lines < ids.jsonl")
    {
        Add(_argument);
        Add(_file);
        Add(_skipSpecial);
        Add(_lines);
        Use(_model);
    }

    protected override Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        string[] given = call.Get(_argument) ?? [];
        string? file = call.Get(_file) ?? (given.Length > 0 ? null : call.Get(_lines) || call.Texts.IsInputRedirected ? "-" : throw new UsageException("No ids were given."));
        var tokenizer = LlamaTokenizer.Load(_model.Folder(call));
        if (call.Get(_lines))
        {
            foreach (string line in call.Texts.Lines(file is null or "-" ? "-" : $"@{file}", "--ids").Where(line => !string.IsNullOrWhiteSpace(line)))
            {
                cancellation.ThrowIfCancellationRequested();
                call.Output.Line(new { Text = Decode(call, tokenizer, IdsFile.Parse(line, $"The line {line}")) });
            }

            return Task.FromResult(ExitCode.Done);
        }

        string text = Decode(call, tokenizer, file is null ? Ids(given) : IdsFile.Parse(call.Texts.ReadPath(file, "--ids"), file == "-" ? "Standard input" : file));
        if (call.Output.Json)
        {
            call.Output.Document(new { Text = text });
        }
        else if (call.Output.IsTerminal)
        {
            call.Output.WriteLine(text);
        }
        else
        {
            call.Output.Write(text);
        }

        return Task.FromResult(ExitCode.Done);
    }

    private string Decode(VerbCall call, LlamaTokenizer tokenizer, int[] ids) => tokenizer.Decode(ids, call.Get(_skipSpecial));

    private static int[] Ids(string[] given)
    {
        string[] words = string.Join(' ', given).Split([' ', ',', '[', ']'], StringSplitOptions.RemoveEmptyEntries);
        return [.. words.Select(word => int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int id) ? id : throw new UsageException($"{word} is not a token id; ids are whole numbers from 0."))];
    }
}

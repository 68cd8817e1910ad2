using System.CommandLine;
using System.Text.Json;
using PrefixTorch.Cli.Options;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Text to ids.</summary>
internal sealed class TokenizeVerb : Verb
{
    private readonly ModelOptions _model = new();
    private readonly TextOptions _text = new();
    private readonly Argument<string?> _argument = new("text") { HelpName = "TEXT", Description = "The text, @file, or - for standard input.", Arity = ArgumentArity.ZeroOrOne };
    private readonly Option<string?> _option = TypedOption.Text("--text", "TEXT", "The text, @file, or - for standard input.", "--prompt");
    private readonly Option<bool> _noBos = new("--no-bos") { Description = "Leave out the token that starts a text." };
    private readonly Option<bool> _lines = new("--lines") { Description = "One JSON string a line in, one JSON document a line out." };

    public TokenizeVerb(Streams streams)
        : base(streams, "tokenize", "Text to token ids.", "\"Prince Andrew rode up to the battery.\"", "--json --special --no-bos \"<|begin_of_text|>Hello\"", "--lines < strings.jsonl")
    {
        Add(_argument);
        Add(_option);
        Add(_noBos);
        Add(_lines);
        Use(_text, _model);
    }

    protected override Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        string source = call.Get(_option) ?? call.Get(_argument) ?? (call.Get(_lines) || call.Texts.IsInputRedirected ? "-" : throw new UsageException("No text was given."));
        var tokenizer = LlamaTokenizer.Load(_model.Folder(call));
        if (call.Get(_lines))
        {
            foreach (string line in call.Texts.Lines(source, "--text").Where(line => !string.IsNullOrWhiteSpace(line)))
            {
                cancellation.ThrowIfCancellationRequested();
                call.Output.Line(Encode(call, tokenizer, ParseLine(line)));
            }

            return Task.FromResult(ExitCode.Done);
        }

        Document document = Encode(call, tokenizer, call.Texts.Read(source, "--text"));
        if (call.Output.Json)
        {
            call.Output.Document(document);
        }
        else if (call.Output.IsTerminal)
        {
            call.Output.Results.Write(Outputs.TokenView.Of(tokenizer, document.Ids));
            call.Output.WriteLine($"{document.Ids.Length} tokens: [{string.Join(", ", document.Ids)}]");
        }
        else
        {
            call.Output.WriteLine($"[{string.Join(", ", document.Ids)}]");
        }

        return Task.FromResult(ExitCode.Done);
    }

    private Document Encode(VerbCall call, LlamaTokenizer tokenizer, string text)
    {
        int[] ids = tokenizer.Encode(text, addBos: !call.Get(_noBos), parseSpecial: call.Get(_text.Special));
        return new Document(ids, [.. ids.Select(tokenizer.TokenToString)]);
    }

    private static string ParseLine(string line)
    {
        try
        {
            return JsonSerializer.Deserialize<string>(line) ?? throw new PrefixTorchException("A line is null; each line must be a JSON string.");
        }
        catch (JsonException error)
        {
            throw new PrefixTorchException($"The line {line} is not a JSON string: {error.Message}", error);
        }
    }

    private sealed record Document(int[] Ids, string[] Tokens);
}

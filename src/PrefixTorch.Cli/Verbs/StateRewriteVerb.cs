using System.CommandLine;
using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Makes another file of a state: whole, in 8 bits, or as plain tensors.</summary>
internal sealed class StateRewriteVerb : Verb
{
    private readonly Argument<string> _path = TypedOption.Path<string>("path", "FILE", "The state file.", ArgumentArity.ExactlyOne);
    private readonly Option<string?> _out = TypedOption.Text("--out", "FILE", "The file to write; may be the state's own name, unless others continue it.", "-o");
    private readonly Option<string[]> _statePath = TypedOption.Texts("--state-path", "DIR", "Where parents of delta files are looked for, after the file's own folder.");

    public StateRewriteVerb(Streams streams, string name, string description, string example)
        : base(streams, name, description, example)
    {
        _out.Required = true;
        Add(_path);
        Add(_out);
        Add(_statePath);
    }

    protected override Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        (string path, string output) = (call.Get(_path)!, call.Get(_out)!);
        string[]? statePath = call.Get(_statePath);
        Target.CheckFile(_out.Name, output, KvStates.Files(path, statePath).Skip(1));
        long before = File.Exists(path) ? new FileInfo(path).Length : 0;
        double? error = null;
        switch (Name)
        {
            case "compact":
                KvStates.Compact(path, output, statePath);
                break;
            case "quantize":
                error = KvStates.Quantize(path, output, statePath);
                break;
            default:
                KvStates.Export(path, output, statePath);
                break;
        }

        long bytes = new FileInfo(output).Length;
        call.Output.Note(string.Create(CultureInfo.InvariantCulture, $"{output}: {bytes:N0} bytes, of {before:N0}{(error is null ? "" : $"; error {error:P2}")}"));
        if (call.Output.Json)
        {
            call.Output.Document(new { File = output, Bytes = bytes, QuantizationError = error });
        }

        return Task.FromResult(ExitCode.Done);
    }
}

using System.CommandLine;
using System.Diagnostics;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Makes a checkpoint of a byte or four and a half bits a weight.</summary>
internal sealed class QuantizeVerb : Verb
{
    private readonly ModelOptions _model = new();
    private readonly Option<string?> _out = TypedOption.Text("--out", "DIR", "The folder to write, a checkpoint like any other.", "-o");
    private readonly Option<string?> _dtype = TypedOption.Choice("--dtype", "What weights become: int8 (default), a byte each; int4, four and a half bits each with their scales.", "int8", "int4");
    private readonly Option<int?> _threads = TypedOption.Integer("--threads", "Threads that compute; otherwise one for each processor.", least: 1, "-t");

    public QuantizeVerb(Streams streams)
        : base(streams, "quantize", "Make a checkpoint in int8 or int4, once; --model takes it from then on.", "--model weights/Llama-3.2-1B --dtype int4 --out weights/Llama-3.2-1B-int4")
    {
        _out.Required = true;
        Use(_model);
        Add(_out);
        Add(_dtype);
        Add(_threads);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        string source = _model.Folder(call), target = call.Get(_out)!;
        Target.CheckFolder(_out.Name, target);
        Quantization quantization = Enum.Parse<Quantization>(call.Get(_dtype) ?? nameof(Quantization.Int8), ignoreCase: true);
        long start = Stopwatch.GetTimestamp();
        using (var bar = new QuantizeBar(call.Output))
        {
            await Llama.QuantizeAsync(source, target, quantization, call.Get(_threads), bar, cancellation).ConfigureAwait(false);
        }

        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        (long before, long after) = (CheckpointInfo.Read(source).TotalBytes, CheckpointInfo.Read(target).TotalBytes);
        call.Output.Note($"{after:N0} bytes of {before:N0}, in {seconds:F1} s");
        if (call.Output.Json)
        {
            call.Output.Document(new { Folder = target, Dtype = quantization.ToString().ToLowerInvariant(), Bytes = after, SourceBytes = before, Seconds = seconds });
        }
        else
        {
            call.Output.WriteLine(target);
        }

        return ExitCode.Done;
    }
}

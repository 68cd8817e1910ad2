using System.CommandLine;
using System.Diagnostics;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>What the model makes of given tokens, for comparing with other engines.</summary>
internal sealed class LogitsVerb : Verb
{
    private readonly PromptOptions _prompt = new();
    private readonly Option<string?> _out = TypedOption.Text("--out", "FILE", "The safetensors file: logits [T,V], key.{i} and value.{i} [1,KV,T,D], all float32.", "-o");
    private readonly Option<int?> _prefix = TypedOption.Integer("--prefix", "The first N tokens go into a cache that is cloned; the rest continues the clone.", least: 0);
    private readonly TextOptions _text = new();
    private readonly LoadOptions _load = new();

    public LogitsVerb(Streams streams)
        : base(streams, "logits", "Logits, keys and values of given tokens, as a safetensors file.", "--ids ids.json --out logits.safetensors", "--ids ids.json --prefix 16 --out continued.safetensors --dtype float32")
    {
        _out.Required = true;
        Use(_prompt);
        Add(_out);
        Add(_prefix);
        Use(_text, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        Prompt prompt = _prompt.Read(call);
        string path = call.Get(_out)!;
        Target.CheckFile(_out.Name, path);
        using Llama llama = await _load.LoadAsync(call, cancellation).ConfigureAwait(false);
        int[] ids = prompt.Ids ?? llama.Tokenizer.Encode(prompt.Text!, parseSpecial: call.Get(_text.Special));
        int prefix = call.Get(_prefix) ?? 0;
        if (prefix > ids.Length)
        {
            throw new UsageException($"--prefix is {prefix}, and there are {ids.Length} tokens; it must be no more than that.");
        }

        long start = Stopwatch.GetTimestamp();
        await LogitsFile.WriteAsync(llama, ids, path, prefix, cancellation).ConfigureAwait(false);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        call.Output.Note($"{ids.Length} tokens computed and written to {path} in {seconds:F2} s");
        if (call.Output.Json)
        {
            call.Output.Document(new { Model = llama.Name, File = path, Tokens = ids.Length, Prefix = prefix, llama.Config.VocabSize, Seconds = seconds });
        }

        return ExitCode.Done;
    }
}

using System.Diagnostics;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Reads a prompt once and keeps the state.</summary>
internal sealed class PrefillVerb : Verb
{
    private readonly PromptOptions _prompt = new();
    private readonly SaveOptions _save = new(required: true);
    private readonly TextOptions _text = new();
    private readonly LoadOptions _load = new();

    public PrefillVerb(Streams streams)
        : base(streams, "prefill", "Read a prompt once and keep the state.", "--prompt \"What are the three main types of machine learning?\" --save question.safetensors", "--prompt @book.txt --save book.safetensors")
    {
        Use(_prompt, _save, _text, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        Prompt prompt = _prompt.Read(call);
        _save.Check(call);
        using Llama llama = await _load.LoadAsync(call, cancellation).ConfigureAwait(false);
        var options = new PrefillOptions { ParseSpecial = call.Get(_text.Special), KeepOnCancel = true };
        long start = Stopwatch.GetTimestamp();
        using var bar = new PrefillBar(call.Output);
        using KvCache cache = await (prompt.Text is string text
            ? llama.PrefillAsync(text, options, bar, cancellation)
            : llama.PrefillAsync(prompt.Ids!, options, bar, cancellation)).ConfigureAwait(false);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        call.Output.Note($"{cache.Length} tokens read in {seconds:F2} s ({cache.Length / seconds:F0} a second)");
        _save.Keep(call, cache);
        if (call.Output.Json)
        {
            string file = call.Get(_save.Save)!;
            call.Output.Document(new { Model = llama.Name, PromptIds = cache.Tokens, File = file, Bytes = new FileInfo(file).Length, PrefillSeconds = seconds });
        }

        return cancellation.IsCancellationRequested ? ExitCode.Interrupted : ExitCode.Done;
    }
}

using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Options;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Prompt to text.</summary>
internal sealed class GenerateVerb : Verb
{
    private readonly PromptOptions _prompt = new();
    private readonly SampleOptions _sample = new();
    private readonly TextOptions _text = new();
    private readonly LoadOptions _load = new LoadOptions().WithGenerationConfig();
    private readonly SaveOptions _save = new(required: false);

    public GenerateVerb(Streams streams)
        : base(streams, "generate", "Prompt to text, as it is generated.", "--prompt \"Prince Andrew rode up to\" --max-new-tokens 40", "--prompt @story.txt --temperature 0.8 --top-p 0.95 --seed 7 -n 3", "--ids ids.json --json --logprobs 5")
    {
        Use(_prompt, _save, _sample, _text, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        Prompt prompt = _prompt.Read(call);
        GenerationOptions options = _sample.Read(call) with { ParseSpecial = call.Get(_text.Special) };
        _save.Check(call, options.NumReturnSequences);
        using Llama llama = await _load.LoadAsync(call, cancellation).ConfigureAwait(false);
        return await Continuing.RunAsync(call, llama, prefix: null, [prompt], options, cache => _save.Keep(call, cache), cancellation).ConfigureAwait(false);
    }
}

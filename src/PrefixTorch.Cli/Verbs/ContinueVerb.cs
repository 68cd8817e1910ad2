using System.CommandLine;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Options;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Goes on from a state.</summary>
internal sealed class ContinueVerb : Verb
{
    private readonly StateOptions _state = new();
    private readonly Option<string[]> _suffix = TypedOption.Texts("--suffix", "TEXT", "What follows the state, @file, or - for standard input; without it: nothing.", "-s");
    private readonly Option<string?> _ids = TypedOption.Text("--ids", "FILE", "What follows the state, as ids: a JSON array, or an object with input_ids.");
    private readonly SaveOptions _save = new(required: false);
    private readonly DeltaOptions _delta = new();
    private readonly SampleOptions _sample = new();
    private readonly SuffixOptions _text = new();
    private readonly LoadOptions _load = new LoadOptions().WithGenerationConfig();

    public ContinueVerb(Streams streams)
        : base(streams, "continue", "Go on from a saved state; the state stays as it is.", "--state question.safetensors --suffix \" The three main types are:\"", "--state question.safetensors --suffix \" Supervised\" --suffix \" Unsupervised\" --json", "--state question.safetensors --suffix \" Yes.\" --save answer.safetensors --delta")
    {
        Use(_state);
        Add(_suffix);
        Add(_ids);
        Use(_save, _delta, _sample, _text, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        List<Prompt> suffixes = [.. (call.Get(_suffix) ?? []).Select(text => new Prompt(call.Texts.Read(text, _suffix.Name), null))];
        if (call.Get(_ids) is string file)
        {
            suffixes.Add(new Prompt(null, IdsFile.Parse(call.Texts.ReadPath(file, _ids.Name), file == "-" ? "Standard input" : file)));
        }

        if (suffixes.Count == 0)
        {
            suffixes.Add(new Prompt("", null));
        }

        GenerationOptions options = _sample.Read(call) with { ParseSpecial = call.Get(_text.Special), Boundary = _text.ReadBoundary(call) };
        KvSaveOptions how = _delta.Read(call, _state, call.Has(_save.Save));
        _save.Check(call, suffixes.Count * options.NumReturnSequences, () => _state.MustStay(call, how));
        using Llama llama = await _load.LoadAsync(call, cancellation, call.Get(_state.StatePath)).ConfigureAwait(false);
        using KvCache prefix = _state.Load(call, llama);
        return await Continuing.RunAsync(call, llama, prefix, suffixes, options, cache => _save.Keep(call, cache, how), cancellation).ConfigureAwait(false);
    }
}

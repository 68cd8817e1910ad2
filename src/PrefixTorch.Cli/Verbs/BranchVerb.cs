using System.CommandLine;
using System.Diagnostics;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Continues one prefix many ways at once: every suffix, and every sample of it, in one batch that reads the prefix's keys once.</summary>
internal sealed class BranchVerb : Verb
{
    private readonly StateOptions _state = new(required: false);
    private readonly PromptOptions _prompt = new();
    private readonly Option<string[]> _suffix = TypedOption.Texts("--suffix", "TEXT", "What follows the prefix in one branch, @file, or - for standard input; without it: nothing.", "-s");
    private readonly SaveEachOptions _save = new();
    private readonly DeltaOptions _delta = new();
    private readonly SampleOptions _sample = new();
    private readonly SuffixOptions _text = new();
    private readonly LoadOptions _load = new LoadOptions().WithGenerationConfig();

    public BranchVerb(Streams streams)
        : base(streams, "branch", "Continue a state, or a prompt, with several suffixes and samples side by side, in one batch.", "--state question.safetensors --suffix \" Supervised\" --suffix \" Unsupervised\"", "--prompt \"Prince Andrew\" -n 4 --temperature 0.9 --seed 7", "--state question.safetensors -s \" Yes,\" -s \" No,\" -n 2 --save answers --json")
    {
        Use(_state, _prompt);
        Add(_suffix);
        Use(_save, _delta, _sample, _text, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        Prompt? prompt = ReadPrompt(call);
        string[] suffixes = [.. (call.Get(_suffix) ?? []).Select(text => call.Texts.Read(text, _suffix.Name)).DefaultIfEmpty("")];
        GenerationOptions options = _sample.Read(call) with { ParseSpecial = call.Get(_text.Special), Boundary = _text.ReadBoundary(call) };
        string[] suffixOf = [.. suffixes.SelectMany(suffix => Enumerable.Repeat(suffix, options.NumReturnSequences))];
        KvSaveOptions how = _delta.Read(call, _state, _save.IsGiven(call));
        _save.Check(call, suffixOf.Length, () => _state.MustStay(call, how));
        using Llama llama = await _load.LoadAsync(call, cancellation, call.Get(_state.StatePath)).ConfigureAwait(false);
        long start = Stopwatch.GetTimestamp();
        using KvCache prefix = prompt is null ? _state.Load(call, llama) : await ReadAsync(call, llama, prompt, options, cancellation).ConfigureAwait(false);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;

        var output = new SequenceOutput(call.Output, llama.Name, suffixOf.Length == 1, options.LogProbs > 0, headings: true);
        Continuation[] branches;
        using (var panes = new BranchPanes(call.Output, suffixOf))
        {
            branches = await llama.GenerateBranchesAsync(prefix, suffixes, options, Show, cancellation).ConfigureAwait(false);

            void Show(int index, Token token)
            {
                output.Stream(token);
                panes.Add(index, token);
            }
        }

        var failure = new LateFailure();
        try
        {
            for (int i = 0; i < branches.Length; i++)
            {
                int index = i;

                // The prompt's reading is the first branch's; a suffix's is in the report of the first one of its samples.
                output.Add(suffixOf[i], branches[i], i == 0 && prompt is not null ? branches[i].Report.WithReading(null, branches[i].PromptIds, seconds) : branches[i].Report);
                failure.Try(() => _save.Keep(call, index, branches[index].Cache, how));
            }
        }
        finally
        {
            Array.ForEach(branches, branch => branch.Dispose());
        }

        int code = output.End();
        failure.Throw();
        return code;
    }

    // Interrupted, it gives what was read: every branch then ends there, and keeps it.
    private static async Task<KvCache> ReadAsync(VerbCall call, Llama llama, Prompt prompt, GenerationOptions options, CancellationToken cancellation)
    {
        var reading = new PrefillOptions { ParseSpecial = options.ParseSpecial, KeepOnCancel = options.KeepOnCancel };
        using var bar = new PrefillBar(call.Output);
        return await (prompt.Text is string text ? llama.PrefillAsync(text, reading, bar, cancellation) : llama.PrefillAsync(prompt.Ids!, reading, bar, cancellation)).ConfigureAwait(false);
    }

    private Prompt? ReadPrompt(VerbCall call)
    {
        bool hasPrompt = call.Has(_prompt.Prompt) || call.Has(_prompt.Ids);
        return (call.Has(_state.State), hasPrompt) switch
        {
            (true, false) => null,
            (false, true) => _prompt.Read(call),
            (false, false) => throw new UsageException($"There is nothing to branch from: give {_state.State.Name} FILE, or {_prompt.Prompt.Name} TEXT."),
            _ => throw new UsageException($"{_state.State.Name} and {_prompt.Prompt.Name} or {_prompt.Ids.Name} were both given; the prefix is one of them."),
        };
    }
}

using System.CommandLine;
using System.Diagnostics;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;
using PrefixTorch.Memory;

namespace PrefixTorch.Cli.Verbs;

/// <summary>
/// The workflow of Hugging Face's documents with <c>past_key_values</c>: read a prompt once, keep the state, save and restore it, continue
/// it with several suffixes; each beside a full recompute, with the times and the proof that the tokens are the same.
/// </summary>
internal sealed class DemoVerb : Verb
{
    private readonly Option<string?> _prompt = TypedOption.Text("--prompt", "TEXT", "What is read once, @file, or - for standard input; otherwise a sentence that suits the model.", "-p");
    private readonly Option<string[]> _suffix = TypedOption.Texts("--suffix", "TEXT", "What continues it, @file, or - for standard input; otherwise some that suit the model.", "-s");
    private readonly Option<int?> _maxNewTokens = TypedOption.Integer("--max-new-tokens", "New tokens after each suffix; otherwise 48.", least: 1);
    private readonly Option<string?> _state = TypedOption.Text("--state", "FILE", "Where the state is saved and stays; otherwise in a temporary file.");
    private readonly LoadOptions _load = new();

    public DemoVerb(Streams streams)
        : base(streams, "demo", "Read once, save, restore, continue several ways; each beside a full recompute: the times, and the proof that the tokens are the same.", "", "--prompt \"The Emperor\" --suffix \" smiled\" --suffix \" wept\" --max-new-tokens 20", "--model weights/Llama-3.1-8B --state question.safetensors")
    {
        Add(_prompt);
        Add(_suffix);
        Add(_maxNewTokens);
        Add(_state);
        Use(_load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        string? prompt = call.Get(_prompt) is string given ? call.Texts.Read(given, _prompt.Name) : null;
        string[] suffixes = [.. (call.Get(_suffix) ?? []).Select(text => call.Texts.Read(text, _suffix.Name))];
        string path = call.Get(_state) ?? Path.Combine(Path.GetTempPath(), $"prefixtorch-demo-{Guid.NewGuid():N}.safetensors");
        Target.CheckFile(_state.Name, path);
        try
        {
            long start = Stopwatch.GetTimestamp();
            using Llama llama = await _load.LoadAsync(call, cancellation, defaultDType: DefaultDType(call)).ConfigureAwait(false);
            double loadSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            var texts = DemoTexts.For(llama.Name);
            var output = new DemoOutput(call.Output);

            // 1. The prompt is read once.
            start = Stopwatch.GetTimestamp();
            using var bar = new PrefillBar(call.Output);
            using KvCache question = await llama.PrefillAsync(prompt ?? texts.Prompt, progress: bar, cancellationToken: cancellation).ConfigureAwait(false);
            double readSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            output.Read(llama, loadSeconds, prompt ?? texts.Prompt, question, readSeconds);

            // 2. Its state goes to disk and comes back.
            start = Stopwatch.GetTimestamp();
            question.Save(path);
            double saveSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            start = Stopwatch.GetTimestamp();
            using var restored = KvCache.Load(path, llama);
            output.Restored(path, saveSeconds, Stopwatch.GetElapsedTime(start).TotalSeconds, question, restored);

            // 3. Every suffix continues the restored state; beside it, everything is read again.
            var options = new GenerationOptions { Greedy = true, MaxNewTokens = call.Get(_maxNewTokens) ?? 48, LogProbs = 2 };
            using (await llama.ContinueAsync(restored, "", options with { MaxNewTokens = 2 }, cancellationToken: cancellation).ConfigureAwait(false))
            {
                // The first pass of a process compiles; nobody's time should contain that.
            }

            foreach (string suffix in suffixes.Length > 0 ? suffixes : texts.Suffixes)
            {
                using Continuation continued = await llama.ContinueAsync(restored, suffix, options, cancellationToken: cancellation).ConfigureAwait(false);

                // What gives other bits when it reads more at a time is read again in the same pieces, to be comparable.
                start = Stopwatch.GetTimestamp();
                int reused = continued.Report.Usage.ReusedTokens;
                using KvCache? again = llama.ReadsAsItDecodes ? null : await llama.PrefillAsync(question.Tokens, cancellationToken: cancellation).ConfigureAwait(false);
                again?.Truncate(reused);
                double againSeconds = again is null ? 0 : Stopwatch.GetElapsedTime(start).TotalSeconds;
                using Continuation recomputed = await llama.ContinueAsync(again, again is null ? continued.PromptIds : continued.PromptIds[reused..], options, cancellationToken: cancellation).ConfigureAwait(false);
                output.Compare(suffix, continued, recomputed, againSeconds + recomputed.Report.Timings.PrefillSeconds);
            }

            return output.End();
        }
        finally
        {
            if (call.Get(_state) is null)
            {
                File.Delete(path);
            }
        }
    }

    // The model that ships is small enough for float32, in which equal tokens are a proof and not luck; others run as they are stored.
    private DType? DefaultDType(VerbCall call) => DemoTexts.IsStory(Path.GetFileName(Path.TrimEndingDirectorySeparator(_load.Folder(call)))) ? DType.Float32 : null;
}

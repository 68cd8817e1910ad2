using System.Diagnostics;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>What generate and continue have in common: prompts behind a prefix or behind nothing, each with its samples.</summary>
internal static class Continuing
{
    /// <summary>Continues each prompt, one after another, and shows what becomes of it.</summary>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(VerbCall call, Llama llama, KvCache? prefix, IReadOnlyList<Prompt> prompts, GenerationOptions options, Action<KvCache> keep, CancellationToken cancellation)
    {
        bool single = prompts.Count * options.NumReturnSequences == 1;
        var output = new SequenceOutput(call.Output, llama.Name, single, options.LogProbs > 0);
        var failure = new LateFailure();
        for (int i = 0; i < prompts.Count && !cancellation.IsCancellationRequested; i++)
        {
            // Every sequence has a number of its own, so that equal suffixes draw different samples.
            GenerationOptions own = options with { Branch = options.Branch + ((long)i * options.NumReturnSequences) };
            if (options.NumReturnSequences == 1)
            {
                using Continuation continuation = await ContinueAsync(call, llama, prefix, prompts[i], own, output, cancellation).ConfigureAwait(false);
                output.Add(prompts[i].Text, continuation, continuation.Report);
                failure.Try(() => keep(continuation.Cache));
            }
            else
            {
                await SampleAsync(call, llama, prefix, prompts[i], own, output, cancellation).ConfigureAwait(false);
            }
        }

        int code = output.End();
        failure.Throw();
        return code;
    }

    // The prompt is read once; the samples go on from there side by side, or end there where the reading was interrupted.
    private static async Task SampleAsync(VerbCall call, Llama llama, KvCache? prefix, Prompt prompt, GenerationOptions options, SequenceOutput output, CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        using KvCache read = await ReadAsync(call, llama, prefix, prompt, options, cancellation).ConfigureAwait(false);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        Continuation[] samples = await llama.GenerateBranchesAsync(read, [""], options, cancellationToken: cancellation).ConfigureAwait(false);
        for (int i = 0; i < samples.Length; i++)
        {
            using Continuation sample = samples[i];
            output.Add(prompt.Text, sample, i == 0 ? sample.Report.WithReading(prefix, sample.PromptIds, seconds) : sample.Report);
        }
    }

    private static async Task<KvCache> ReadAsync(VerbCall call, Llama llama, KvCache? prefix, Prompt prompt, GenerationOptions options, CancellationToken cancellation)
    {
        var reading = new PrefillOptions { ParseSpecial = options.ParseSpecial, Boundary = options.Boundary, KeepOnCancel = options.KeepOnCancel };
        using var bar = new PrefillBar(call.Output);
        return await ((prefix, prompt.Text) switch
        {
            (null, string text) => llama.PrefillAsync(text, reading, bar, cancellation),
            (null, null) => llama.PrefillAsync(prompt.Ids!, reading, bar, cancellation),
            (_, string text) => llama.AppendAsync(prefix, text, reading, bar, cancellation),
            _ => llama.AppendAsync(prefix, prompt.Ids!, reading, bar, cancellation),
        }).ConfigureAwait(false);
    }

    private static async Task<Continuation> ContinueAsync(VerbCall call, Llama llama, KvCache? prefix, Prompt prompt, GenerationOptions options, SequenceOutput output, CancellationToken cancellation)
    {
        using var bar = new PrefillBar(call.Output);
        return await (prompt.Text is string text
            ? llama.ContinueAsync(prefix, text, options, output.Stream, bar, cancellation)
            : llama.ContinueAsync(prefix, prompt.Ids!, options, output.Stream, bar, cancellation)).ConfigureAwait(false);
    }
}

using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Memory;

namespace PrefixTorch.Cli.Outputs;

/// <summary>Tells what the demo does, and judges it.</summary>
internal sealed class DemoOutput(Output output)
{
    // Where the two best tokens are closer than rounding, either may win: in bf16 or fp16, reading in other pieces rounds otherwise.
    private const float WideMargin = 2e-4f;
    private const float NarrowMargin = 0.1f;

    private readonly List<DemoComparison> _comparisons = [];
    private string _model = "";
    private string _prompt = "";
    private int[] _promptIds = [];
    private DemoReading? _reading;
    private DemoState? _state;
    private float _margin = NarrowMargin;

    /// <summary>Tells of the prompt that was read.</summary>
    public void Read(Llama llama, double loadSeconds, string prompt, KvCache cache, double seconds)
    {
        _model = llama.Name;
        _prompt = prompt;
        _promptIds = cache.Tokens;
        _margin = llama.Options is { DType: DType.Float32, KvDType: DType.Float32 } ? WideMargin : NarrowMargin;
        _reading = new DemoReading(loadSeconds, seconds);
        Tell($"{llama.Name}: {llama.Config.NumHiddenLayers} layers, {llama.ParameterCount:N0} parameters, {llama.Arithmetic}; loaded in {loadSeconds:F2} s");
        Tell($"Read once: {cache.Length} tokens in {seconds * 1000:F1} ms. \"{prompt}\"");
    }

    /// <summary>Tells of the state that went to disk and came back.</summary>
    public void Restored(string path, double saveSeconds, double restoreSeconds, KvCache before, KvCache after)
    {
        _state = new DemoState(path, new FileInfo(path).Length, saveSeconds, restoreSeconds, before.Tokens.AsSpan().SequenceEqual(after.Tokens));
        Tell($"Saved: {_state.Bytes:N0} bytes in {saveSeconds * 1000:F1} ms; restored in {restoreSeconds * 1000:F1} ms.");
    }

    /// <summary>Compares a continuation of the restored state with a full recompute.</summary>
    public void Compare(string suffix, Continuation continued, Continuation recomputed, double recomputeSeconds)
    {
        int same = continued.Ids.AsSpan().CommonPrefixLength(recomputed.Ids);
        bool equal = same == continued.Ids.Length && same == recomputed.Ids.Length;
        bool tie = !equal && same < recomputed.Tokens.Count && Margin(recomputed.Tokens[same]) <= _margin;
        var comparison = new DemoComparison(
            suffix,
            continued.Ids,
            continued.Text,
            continued.Report.Usage,
            continued.Report.Timings.PrefillSeconds,
            recomputeSeconds,
            continued.Report.Timings.TokensPerSecond,
            equal,
            tie ? same : null);
        _comparisons.Add(comparison);
        if (output.Json)
        {
            return;
        }

        output.Heading(suffix.Length == 0 ? "(nothing)" : suffix);
        output.WriteLine($"{suffix}{continued.Text}");
        string verdict = equal ? $"the same {same} tokens" : tie ? $"the same tokens up to a tie at {same}" : $"OTHER TOKENS from {same}: {Show(continued, same)} instead of {Show(recomputed, same)}";
        output.WriteLine($"  {comparison.Usage.ReusedTokens} tokens reused, {comparison.Usage.ComputedTokens} read in {comparison.ContinueSeconds * 1000:F1} ms; full recompute {comparison.RecomputeSeconds * 1000:F1} ms ({comparison.Speedup:F1} times as long); {verdict}");
    }

    /// <summary>Ends with the verdict.</summary>
    /// <returns>The exit code.</returns>
    public int End()
    {
        int same = _comparisons.Count(comparison => comparison.Same), ties = _comparisons.Count(comparison => comparison.TieAt is not null);
        bool proven = _state!.Same && same + ties == _comparisons.Count;
        if (output.Json)
        {
            output.Document(new { Model = _model, Prompt = _prompt, PromptIds = _promptIds, Reading = _reading, State = _state, Suffixes = _comparisons, Same = proven });
        }
        else
        {
            double continued = _comparisons.Sum(comparison => comparison.ContinueSeconds), recomputed = _comparisons.Sum(comparison => comparison.RecomputeSeconds);
            output.WriteLine();
            output.WriteLine($"{same} of {_comparisons.Count} suffixes gave the same tokens as a full recompute{(ties > 0 ? $", {ties} more up to a tie" : "")}. Reading took {continued * 1000:F1} ms from the state and {recomputed * 1000:F1} ms from the beginning.");
        }

        return proven ? ExitCode.Done : throw new PrefixTorchException($"{_comparisons.Count - same - ties} of {_comparisons.Count} suffixes gave other tokens than a full recompute. This is an error of the program, or of this machine: run again with --dtype float32, and report it.");
    }

    private static float Margin(Token token) => token.TopLogProbs is [var best, var second, ..] ? best.LogProb - second.LogProb : float.PositiveInfinity;

    private static string Show(Continuation continuation, int from) => from < continuation.Ids.Length ? $"{continuation.Ids[from]}" : "the end";

    private void Tell(string text)
    {
        if (!output.Json)
        {
            output.WriteLine(text);
        }
    }
}

/// <summary>Reading the prompt.</summary>
internal sealed record DemoReading(double LoadSeconds, double PrefillSeconds);

/// <summary>The state on disk.</summary>
internal sealed record DemoState(string File, long Bytes, double SaveSeconds, double RestoreSeconds, bool Same);

/// <summary>One suffix from the restored state, beside a full recompute.</summary>
/// <param name="Suffix">The text.</param>
/// <param name="Ids">The new tokens.</param>
/// <param name="Text">Their text.</param>
/// <param name="Usage">What was reused.</param>
/// <param name="ContinueSeconds">Reading the suffix behind the restored state.</param>
/// <param name="RecomputeSeconds">Reading prompt and suffix.</param>
/// <param name="TokensPerSecond">Decoding.</param>
/// <param name="Same">Whether the recompute gave the same tokens.</param>
/// <param name="TieAt">The first token that differs, where its two best were too close to call.</param>
internal sealed record DemoComparison(string Suffix, int[] Ids, string Text, Usage Usage, double ContinueSeconds, double RecomputeSeconds, double TokensPerSecond, bool Same, int? TieAt)
{
    /// <summary>How many times as long the recompute read.</summary>
    public double Speedup => ContinueSeconds > 0 ? RecomputeSeconds / ContinueSeconds : 0;
}

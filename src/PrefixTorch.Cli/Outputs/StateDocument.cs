using PrefixTorch.Caching;
using PrefixTorch.Cli.Chat;

namespace PrefixTorch.Cli.Outputs;

/// <summary>What a state file says of itself, for programs.</summary>
internal sealed record StateDocument(
    string Path, long Bytes, int Version, string Digest, string? Name, string Model, string Weights, string Rope, string Tokenizer,
    int NumHiddenLayers, int NumKeyValueHeads, int HeadDim, string KvDtype, string? Quantization, double? QuantizationError,
    int Length, int OwnLength, string? Parent, int? ParentLength, ulong? Seed, long? Branch, bool HasLogits, DateTimeOffset Created,
    IReadOnlyDictionary<string, string> Facts, string? Text)
{
    public static StateDocument Of(KvStateInfo state) => new(
        state.Path, state.FileBytes, state.Version, state.Digest, state.Name, state.Model, state.Weights, state.Rope, state.Tokenizer,
        state.Layout.Layers, state.Layout.KeyValueHeads, state.Layout.HeadDim, state.Layout.DType.ToString().ToLowerInvariant(),
        state.Quantization == KvQuantization.None ? null : state.Quantization.ToString().ToLowerInvariant(), state.QuantizationError,
        state.Length, state.OwnLength, state.Parent, state.ParentLength, state.Run?.Seed, state.Run?.Branch, state.HasLogits, state.Created, state.Facts, state.OwnText);
}

/// <summary>The same for people.</summary>
internal static class StateView
{
    /// <summary>Shows a state.</summary>
    public static void Show(Output output, KvStateInfo state)
    {
        KvLayout layout = state.Layout;
        string quantized = state.QuantizationError is double error ? $", in the file as {state.Quantization.ToString().ToLowerInvariant()} with an error of {error:P2}" : "";
        List<(string, string)> rows =
        [
            ("state", state.Path),
            ("model", state.Model),
            ("tokens", state.Parent is null ? $"{state.Length}" : $"{state.Length}: {state.ParentLength} of {state.Parent}, and {state.OwnLength} of its own"),
            ("size", $"{state.FileBytes:N0} bytes"),
            ("keys and values", $"{layout.Layers} layers × {layout.KeyValueHeads} heads × {layout.HeadDim}, {layout.DType.ToString().ToLowerInvariant()}{quantized}"),
            ("last logits", state.HasLogits ? "there: going on with nothing new needs no forward pass" : "not there: one token is computed again"),
            ("written", $"{state.Created.ToLocalTime():yyyy-MM-dd HH:mm:ss}, format {state.Version}"),
            ("digest", state.Digest),
        ];
        if (state.Name is not null)
        {
            rows.Insert(1, ("name", state.Name));
        }

        if (state.Run is { } run)
        {
            rows.Add(("generated", run.Seed is { } seed ? $"sampled with seed {seed}, branch {run.Branch}, behind {run.PromptLength} tokens" : $"greedily, behind {run.PromptLength} tokens"));
        }

        if (ChatRecord.Read(state.Facts.GetValueOrDefault(ChatRecord.Fact), state.Length) is { } moments)
        {
            rows.Add(("chat", $"{moments.Count} answer{(moments.Count == 1 ? "" : "s")}"));
        }

        rows.AddRange(state.Facts.Where(fact => fact.Key != ChatRecord.Fact).Select(fact => (fact.Key, fact.Value)));
        if (state.OwnText is not null)
        {
            rows.Add(("text", Shorten(state.OwnText)));
        }

        output.Rows(["", ""], rows.Select(row => new[] { row.Item1, row.Item2 }));
    }

    // The beginning and the end, on one line.
    private static string Shorten(string text)
    {
        const int Width = 120;
        string line = text.ReplaceLineEnding();
        return line.Length <= 2 * Width ? line : $"{line[..Width]} … {line[^Width..]}";
    }

    private static string ReplaceLineEnding(this string text) => text.ReplaceLineEndings("⏎").Replace('\t', ' ');
}

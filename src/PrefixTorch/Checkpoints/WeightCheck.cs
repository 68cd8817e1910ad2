using System.Text;
using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>Compares what a model asks for with what a checkpoint has, and reports every difference at once.</summary>
internal static class WeightCheck
{
    // So many of each kind are named; of a wrong model's 291 the rest would only scroll the first away.
    private const int NamesShown = 8;

    // Buffers that old releases saved and that Hugging Face ignores as well: they follow from config.json.
    private static readonly string[] s_ignoredSuffixes = [".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached", ".masked_bias"];

    // What fp8 checkpoints hold for activations and for a quantized KV cache: both run in a wider type here.
    private static readonly string[] s_activationScaleSuffixes = [".input_scale", ".output_scale", ".k_scale", ".v_scale", ".q_scale", ".prob_scale", ".input_scale_ub"];

    /// <summary>Checks that every expected weight is there with its shape, and that nothing else is.</summary>
    /// <remarks>The scales of fp8 weights count as used: see <see cref="Float8Scale.Find"/>.</remarks>
    /// <exception cref="CheckpointException"><see cref="CheckpointError.WeightMismatch"/>, naming all missing, misshapen and unused weights.</exception>
    public static void Check(Checkpoint checkpoint, IReadOnlyCollection<ExpectedWeight> expected)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var missing = new List<string>();
        var misshapen = new List<string>();
        foreach (ExpectedWeight weight in expected)
        {
            names.Add(weight.Name);
            if (!checkpoint.Tensors.TryGetValue(weight.Name, out CheckpointTensor? tensor))
            {
                if (!weight.Optional)
                {
                    missing.Add($"{weight.Name} {TensorShape.Format(weight.Shape)}");
                }
            }
            else if (!tensor.Shape.AsSpan().SequenceEqual(weight.Shape))
            {
                misshapen.Add($"{weight.Name} is {TensorShape.Format(tensor.Shape)}, config.json asks for {TensorShape.Format(weight.Shape)}");
            }
        }

        List<string> unused = [.. checkpoint.Tensors.Keys.Where(name => !names.Contains(name) && !IsIgnored(checkpoint, name))];
        if (missing.Count + misshapen.Count + unused.Count > 0)
        {
            throw new CheckpointException(CheckpointError.WeightMismatch, checkpoint.Path, Describe(missing, misshapen, unused));
        }
    }

    private static bool IsIgnored(Checkpoint checkpoint, string name)
    {
        if (s_ignoredSuffixes.Any(suffix => name.EndsWith(suffix, StringComparison.Ordinal)))
        {
            return true;
        }

        if (s_activationScaleSuffixes.Any(suffix => name.EndsWith(suffix, StringComparison.Ordinal)))
        {
            return checkpoint.Tensors.Values.Any(tensor => IsFloat8(tensor.DType));
        }

        string? scale = Array.Find(Float8Scale.Suffixes, suffix => name.EndsWith(suffix, StringComparison.Ordinal));
        return scale is not null && checkpoint.Tensors.TryGetValue(name[..^scale.Length], out CheckpointTensor? weight) && IsFloat8(weight.DType);
    }

    private static bool IsFloat8(DType type) => type is DType.Float8E4M3 or DType.Float8E5M2;

    private static string Describe(List<string> missing, List<string> misshapen, List<string> unused)
    {
        var text = new StringBuilder("the weights are not those that config.json describes.");
        Append(text, "Missing", missing);
        Append(text, "Misshapen", misshapen);
        Append(text, "Unused", unused);
        return text.Append(" Use the config.json and the weights of one model.").ToString();
    }

    private static void Append(StringBuilder text, string title, List<string> names)
    {
        if (names.Count == 0)
        {
            return;
        }

        text.Append(' ').Append(title).Append(" (").Append(names.Count).Append("): ").AppendJoin("; ", names.Take(NamesShown));
        if (names.Count > NamesShown)
        {
            text.Append("; and ").Append(names.Count - NamesShown).Append(" more");
        }

        text.Append('.');
    }
}

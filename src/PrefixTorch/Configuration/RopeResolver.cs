using System.Text.Json;

namespace PrefixTorch.Configuration;

/// <summary>Reads the rope dictionary in either spelling, and refuses by name what would change the math and is not understood.</summary>
internal static class RopeResolver
{
    private const double DefaultTheta = 10_000;

    // Every key that transformers gives a meaning. One that a kind does not use is ignored there, and here.
    private static readonly HashSet<string> s_knownKeys =
    [
        "rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor",
        "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "partial_rotary_factor",
        "short_factor", "long_factor", "finetuned",
    ];

    public static RopeConfig Resolve(ConfigFile file, int maxPositions, string path)
    {
        var rope = new RopeDictionary(Merge(file, path), path);
        double theta = rope.Number("rope_theta") ?? file.RopeTheta ?? DefaultTheta;
        if (rope.Number("rope_theta") is double inner && file.RopeTheta is double outer && inner != outer)
        {
            throw new ConfigurationException(path, $"rope_theta is {outer}, but {inner} inside the rope dictionary. Keep one of them.");
        }

        RopeDictionary.CheckPositive(theta, "rope_theta", path);
        if ((rope.Number("partial_rotary_factor") ?? file.PartialRotaryFactor ?? 1) is not 1.0 and double partial)
        {
            throw new ConfigurationException(path, $"partial_rotary_factor is {partial}; Llama turns all dimensions of a head. Use a checkpoint without it.");
        }

        int Original() => rope.Integer("original_max_position_embeddings") ?? file.OriginalMaxPositionEmbeddings ?? maxPositions;
        string kind = Kind(rope, path);
        return kind switch
        {
            "default" => new DefaultRope(theta),
            "linear" => new LinearRope(theta, rope.Required("factor", kind)),
            "llama3" => Llama3(rope, theta, kind, Original(), path),
            "yarn" => Yarn(rope, theta, Original(), maxPositions),
            "dynamic" => throw new ConfigurationException(path, "rope_type 'dynamic' is refused: its frequencies, and with them all keys, depend on the final length of the text, so that a prefix cannot be continued exactly. Use a checkpoint with 'llama3', 'yarn' or 'linear' scaling."),
            "longrope" => throw new ConfigurationException(path, "rope_type 'longrope' is refused: its frequencies change once a text grows beyond the original length, so that a prefix cannot be continued exactly. Use a checkpoint with 'llama3', 'yarn' or 'linear' scaling."),
            _ => throw new ConfigurationException(path, $"rope_type '{kind}' is not known; it is none of default, linear, llama3, yarn. Use a checkpoint with one of these."),
        };
    }

    private static Llama3Rope Llama3(RopeDictionary rope, double theta, string kind, int original, string path)
    {
        var llama3 = new Llama3Rope(theta, rope.Required("factor", kind), rope.Required("low_freq_factor", kind), rope.Required("high_freq_factor", kind), original);
        return llama3.HighFreqFactor > llama3.LowFreqFactor
            ? llama3
            : throw new ConfigurationException(path, $"high_freq_factor {llama3.HighFreqFactor} is not greater than low_freq_factor {llama3.LowFreqFactor}. Correct one of them.");
    }

    private static YarnRope Yarn(RopeDictionary rope, double theta, int original, int maxPositions)
    {
        double factor = rope.PositiveOrNull("factor") ?? (double)maxPositions / original;
        return new YarnRope(
            theta,
            factor,
            original,
            rope.PositiveOrNull("attention_factor") ?? AttentionFactor(factor, rope.Number("mscale") ?? 0, rope.Number("mscale_all_dim") ?? 0),
            rope.PositiveOrDefault("beta_fast", 32),
            rope.PositiveOrDefault("beta_slow", 1),
            rope.Boolean("truncate") ?? true);
    }

    // As in the paper, 0.1 ln(factor) + 1; or the ratio of two of these, as DeepSeek has it.
    private static double AttentionFactor(double factor, double mscale, double mscaleAllDim)
    {
        double Scale(double weight) => factor <= 1 ? 1 : (0.1 * weight * Math.Log(factor)) + 1;
        return mscale != 0 && mscaleAllDim != 0 ? Scale(mscale) / Scale(mscaleAllDim) : Scale(1);
    }

    private static string Kind(RopeDictionary rope, string path)
    {
        string? current = rope.Text("rope_type");
        string? old = rope.Text("type");
        return current is not null && old is not null && current != old
            ? throw new ConfigurationException(path, $"rope_type is '{current}', but type is '{old}'. Keep one of them.")
            : current ?? old ?? "default";
    }

    // Both spellings may stand in one file, for the sake of older readers. They must then say the same.
    private static Dictionary<string, JsonElement> Merge(ConfigFile file, string path)
    {
        var merged = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        foreach ((string name, JsonElement given) in new[] { ("rope_scaling", file.RopeScaling), ("rope_parameters", file.RopeParameters) })
        {
            if (given.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null)
            {
                continue;
            }

            if (given.ValueKind != JsonValueKind.Object)
            {
                throw new ConfigurationException(path, $"{name} is {given.GetRawText()}, not an object. Correct it.");
            }

            foreach (JsonProperty property in given.EnumerateObject().Where(property => property.Value.ValueKind != JsonValueKind.Null))
            {
                if (!s_knownKeys.Contains(property.Name))
                {
                    throw new ConfigurationException(path, $"{name} has the key '{property.Name}', which is not known and may change the math. Remove it if it does not, or use another checkpoint.");
                }

                if (merged.TryGetValue(property.Name, out JsonElement other) && !JsonElement.DeepEquals(other, property.Value))
                {
                    throw new ConfigurationException(path, $"'{property.Name}' is {other.GetRawText()} in rope_scaling, but {property.Value.GetRawText()} in rope_parameters. Keep one of them.");
                }

                merged[property.Name] = property.Value;
            }
        }

        return merged;
    }
}

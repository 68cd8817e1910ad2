using System.Text.Json;

namespace PrefixTorch.Configuration;

/// <summary>The rope dictionary of a config.json, its values checked as they are asked for.</summary>
internal sealed class RopeDictionary(Dictionary<string, JsonElement> values, string path)
{
    public static void CheckPositive(double value, string key, string path)
    {
        if (!(value > 0) || double.IsInfinity(value))
        {
            throw new ConfigurationException(path, $"{key} is {value}; it must be positive. Correct it.");
        }
    }

    public double? Number(string key) => Find(key, JsonValueKind.Number, "a number")?.GetDouble();

    public string? Text(string key) => Find(key, JsonValueKind.String, "a string")?.GetString();

    public bool? Boolean(string key) => values.TryGetValue(key, out JsonElement value)
        ? value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Wrong(key, value, "true or false"),
        }
        : null;

    /// <summary>A positive whole number; Python may have written it as 8192.0.</summary>
    public int? Integer(string key)
    {
        double? value = PositiveOrNull(key);
        return value is null ? null : value == Math.Floor(value.Value) && value <= int.MaxValue ? (int)value : throw Wrong(key, values[key], "a whole number");
    }

    public double Required(string key, string kind) =>
        PositiveOrNull(key) ?? throw new ConfigurationException(path, $"rope_type '{kind}' needs the key '{key}', which is not given. Add it.");

    public double? PositiveOrNull(string key)
    {
        if (Number(key) is not double value)
        {
            return null;
        }

        CheckPositive(value, key, path);
        return value;
    }

    /// <summary>A positive number; absent and zero stand for the default, as in Python's <c>or</c>.</summary>
    public double PositiveOrDefault(string key, double otherwise) => Number(key) is null or 0 ? otherwise : PositiveOrNull(key)!.Value;

    private JsonElement? Find(string key, JsonValueKind kind, string what) =>
        !values.TryGetValue(key, out JsonElement value) ? null : value.ValueKind == kind ? value : throw Wrong(key, value, what);

    private ConfigurationException Wrong(string key, JsonElement value, string what) =>
        new(path, $"the rope dictionary's {key} is {value.GetRawText()}, not {what}. Correct it.");
}

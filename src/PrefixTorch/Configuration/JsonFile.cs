using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using System.Text.Unicode;

namespace PrefixTorch.Configuration;

/// <summary>Reads JSON files into the types of this folder, with the file and the key in every message.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, AllowDuplicateProperties = false)]
[JsonSerializable(typeof(ConfigFile))]
[JsonSerializable(typeof(GenerationConfigFile))]
internal sealed partial class JsonFile : JsonSerializerContext
{
    /// <summary>The bytes of a file, or null where there is none.</summary>
    /// <exception cref="ConfigurationException">It is there but cannot be read.</exception>
    public static byte[]? ReadBytes(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllBytes(path) : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException(path, $"the file cannot be read ({error.Message}).", error);
        }
    }

    /// <summary>Reads JSON into the type of the file, and makes of that what is asked for.</summary>
    /// <exception cref="ConfigurationException">It is not JSON, or a key has a value of the wrong type.</exception>
    public static TResult Parse<TFile, TResult>(ReadOnlySpan<byte> json, JsonTypeInfo<TFile> type, string path, Func<TFile, TResult> resolve)
    {
        // A byte order mark is not JSON, yet some editors leave one.
        ReadOnlySpan<byte> text = json.StartsWith("\uFEFF"u8) ? json[3..] : json;
        if (!Utf8.IsValid(text))
        {
            throw new ConfigurationException(path, "the file is not UTF-8. Download it again, or save it as UTF-8.");
        }

        try
        {
            return resolve(JsonSerializer.Deserialize(text, type) ?? throw new ConfigurationException(path, "the file holds null instead of an object. Download it again."));
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            // InvalidOperation: a string with half a surrogate pair, found when it is read.
            throw new ConfigurationException(path, $"{error.Message} Correct the value, or download the file again.", error);
        }
    }
}

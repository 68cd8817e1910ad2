using System.Text.Json;

namespace PrefixTorch.Checkpoints;

/// <summary>Reads <c>model.safetensors.index.json</c>: an object whose <c>weight_map</c> maps each tensor to the file that holds it.</summary>
internal static class CheckpointIndex
{
    private const string Remedy = "Download the index again.";

    /// <summary>The file name of each tensor's shard, by the tensor's name, in the index's order.</summary>
    /// <exception cref="CheckpointException">The index cannot be read, is not JSON, or names a tensor twice.</exception>
    public static OrderedDictionary<string, string> ReadWeightMap(string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            if (document.RootElement.ValueKind != JsonValueKind.Object
                || !document.RootElement.TryGetProperty("weight_map", out JsonElement map)
                || map.ValueKind != JsonValueKind.Object)
            {
                throw new CheckpointException(CheckpointError.InvalidHeader, path, $"there is no object 'weight_map'. {Remedy}");
            }

            return Read(path, map);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new CheckpointException(CheckpointError.InvalidJson, path, $"the index is not JSON ({error.Message}). {Remedy}", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(CheckpointError.NotFound, path, $"the index cannot be read ({error.Message}).", error);
        }
    }

    private static OrderedDictionary<string, string> Read(string path, JsonElement map)
    {
        var shards = new OrderedDictionary<string, string>(StringComparer.Ordinal);
        foreach (JsonProperty property in map.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.String)
            {
                throw new CheckpointException(CheckpointError.InvalidHeader, path, $"weight_map gives '{property.Name}' {property.Value.ValueKind} instead of a file name. {Remedy}");
            }

            if (!shards.TryAdd(property.Name, property.Value.GetString()!))
            {
                throw new CheckpointException(CheckpointError.DuplicateName, path, $"weight_map names '{property.Name}' twice. {Remedy}");
            }
        }

        return shards.Count > 0
            ? shards
            : throw new CheckpointException(CheckpointError.InvalidHeader, path, $"weight_map is empty. {Remedy}");
    }
}

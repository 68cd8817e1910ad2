using System.Text.Json;

namespace PrefixTorch.Configuration;

/// <summary>Lets 8-bit floats pass, which are widened on loading, and refuses every other quantization by name.</summary>
internal static class QuantizationResolver
{
    public static QuantizationConfig? Resolve(JsonElement given, string path)
    {
        if (given.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null)
        {
            return null;
        }

        if (given.ValueKind != JsonValueKind.Object)
        {
            throw new ConfigurationException(path, $"quantization_config is {given.GetRawText()}, not an object. Correct it.");
        }

        string method = Text(given, "quant_method") ?? throw new ConfigurationException(path, "quantization_config has no quant_method. Use a checkpoint in bfloat16.");
        switch (method)
        {
            case "fp8":
                (int rows, int columns) = BlockSize(given, path);
                return new QuantizationConfig(method, rows, columns);
            case "fbgemm_fp8":
                return new QuantizationConfig(method);
            case "compressed-tensors" when Text(given, "format") == "float-quantized":
                return new QuantizationConfig(method);
            case QuantizationConfig.OurMethod:
                string kind = Text(given, "format") is "int8" or "int4"
                    ? Text(given, "format")!
                    : throw new ConfigurationException(path, $"quantization_config.format is '{Text(given, "format")}'; int8 and int4 are read. Quantize the original checkpoint again.");
                int version = given.TryGetProperty("version", out JsonElement number) && number.ValueKind == JsonValueKind.Number && number.TryGetInt32(out int found) ? found : 1;
                return version == QuantizationConfig.OurVersion
                    ? new QuantizationConfig(method, Format: kind)
                    : throw new ConfigurationException(path, $"its {kind} codes are of version {version}, and version {QuantizationConfig.OurVersion} is read. Quantize the original checkpoint again.");
            default:
                string format = Text(given, "format") is string name ? $" ({name})" : "";
                throw new ConfigurationException(path, $"the checkpoint is quantized by '{method}'{format}; only 8-bit floats (fp8, fbgemm_fp8, compressed-tensors' float-quantized) are read. Use the original checkpoint and quantize it here.");
        }
    }

    private static (int Rows, int Columns) BlockSize(JsonElement given, string path)
    {
        if (!given.TryGetProperty("weight_block_size", out JsonElement size) || size.ValueKind == JsonValueKind.Null)
        {
            return (128, 128);
        }

        return size.ValueKind == JsonValueKind.Array
            && size.GetArrayLength() == 2
            && size[0].ValueKind == JsonValueKind.Number
            && size[1].ValueKind == JsonValueKind.Number
            && size[0].TryGetInt32(out int rows)
            && size[1].TryGetInt32(out int columns)
            && rows > 0
            && columns > 0
            ? (rows, columns)
            : throw new ConfigurationException(path, $"quantization_config.weight_block_size is {size.GetRawText()}, not two positive integers. Correct it.");
    }

    private static string? Text(JsonElement element, string key) =>
        element.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}

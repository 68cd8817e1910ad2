using System.Text.Json;
using PrefixTorch.Memory;

namespace PrefixTorch.Configuration;

/// <summary>Turns <c>config.json</c> as it is on disk into the config that the math reads: fills defaults in as Hugging Face does, refuses what it does not understand.</summary>
internal static class ConfigResolver
{
    private const string Architecture = "LlamaForCausalLM";
    private const string ModelType = "llama";

    public static LlamaConfig Resolve(ConfigFile file, string path)
    {
        CheckArchitecture(file, path);
        int hiddenSize = Required(file.HiddenSize, "hidden_size", path);
        int heads = Required(file.NumAttentionHeads, "num_attention_heads", path);
        int keyValueHeads = Positive(file.NumKeyValueHeads ?? heads, "num_key_value_heads", path);
        if (heads % keyValueHeads != 0)
        {
            throw new ConfigurationException(path, $"num_attention_heads {heads} is not a multiple of num_key_value_heads {keyValueHeads}: query heads cannot share keys evenly. Correct one of them.");
        }

        double eps = file.RmsNormEps ?? 1e-6;
        if (!(eps >= 0) || double.IsInfinity(eps))
        {
            throw new ConfigurationException(path, $"rms_norm_eps is {eps}; it must be 0 or more. Correct it.");
        }

        int maxPositions = Positive(file.MaxPositionEmbeddings ?? 2048, "max_position_embeddings", path);
        return new LlamaConfig
        {
            HiddenSize = hiddenSize,
            IntermediateSize = Required(file.IntermediateSize, "intermediate_size", path),
            NumHiddenLayers = Required(file.NumHiddenLayers, "num_hidden_layers", path),
            NumAttentionHeads = heads,
            NumKeyValueHeads = keyValueHeads,
            HeadDim = HeadDim(file.HeadDim, hiddenSize, heads, path),
            VocabSize = Required(file.VocabSize, "vocab_size", path),
            RmsNormEps = eps,
            MaxPositionEmbeddings = maxPositions,
            TieWordEmbeddings = file.TieWordEmbeddings ?? false,
            AttentionBias = file.AttentionBias ?? false,
            MlpBias = file.MlpBias ?? false,
            // Absent is Hugging Face's default for a Llama; null is none.
            BosTokenId = IsAbsent(file.BosTokenId) ? 1 : TokenIds.ReadFirst(file.BosTokenId, "bos_token_id", path),
            EosTokenIds = IsAbsent(file.EosTokenId) ? [2] : TokenIds.Read(file.EosTokenId, "eos_token_id", path) ?? [],
            DType = ParseDType(file.Dtype ?? file.TorchDtype, path),
            Rope = RopeResolver.Resolve(file, maxPositions, path),
            Quantization = QuantizationResolver.Resolve(IsAbsent(file.QuantizationConfig) ? file.CompressionConfig : file.QuantizationConfig, path),
        };
    }

    private static void CheckArchitecture(ConfigFile file, string path)
    {
        if (file.Architectures is { Length: > 0 } architectures && !architectures.Contains(Architecture))
        {
            throw new ConfigurationException(path, $"the architecture is {string.Join(", ", architectures)}, not {Architecture}. Use a Llama checkpoint.");
        }

        if (file.ModelType is not null && file.ModelType != ModelType)
        {
            throw new ConfigurationException(path, $"model_type is '{file.ModelType}', not '{ModelType}'. Use a Llama checkpoint.");
        }

        if (file.ModelType is null && file.Architectures is not { Length: > 0 })
        {
            throw new ConfigurationException(path, $"neither architectures nor model_type is given, so that the model is not known. If it is a Llama, add \"model_type\": \"{ModelType}\".");
        }

        if (file.HiddenAct is not (null or "silu" or "swish"))
        {
            throw new ConfigurationException(path, $"hidden_act is '{file.HiddenAct}', not 'silu'. Only Llama's own activation is computed; use a checkpoint that has it.");
        }
    }

    private static int HeadDim(int? given, int hiddenSize, int heads, string path)
    {
        if (given is null && hiddenSize % heads != 0)
        {
            throw new ConfigurationException(path, $"hidden_size {hiddenSize} is not a multiple of num_attention_heads {heads}, and head_dim is not given. Add head_dim.");
        }

        int headDim = Positive(given ?? hiddenSize / heads, "head_dim", path);
        return headDim % 2 == 0
            ? headDim
            : throw new ConfigurationException(path, $"head_dim is {headDim}; rotary embeddings turn pairs of dimensions, so it must be even. Correct it.");
    }

    private static DType? ParseDType(string? text, string path)
    {
        if (text is null or "auto")
        {
            return null;
        }

        string name = text.StartsWith("torch.", StringComparison.Ordinal) ? text["torch.".Length..] : text;
        return name switch
        {
            "float32" or "float" => DType.Float32,
            "float16" or "half" => DType.Float16,
            "bfloat16" => DType.BFloat16,
            "float64" or "double" => DType.Float64,
            "float8_e4m3fn" => DType.Float8E4M3,
            "float8_e5m2" => DType.Float8E5M2,
            _ => throw new ConfigurationException(path, $"dtype is '{text}', not one of float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2. Save the checkpoint in one of these."),
        };
    }

    private static bool IsAbsent(JsonElement element) => element.ValueKind == JsonValueKind.Undefined;

    private static int Required(int? value, string key, string path) =>
        Positive(value ?? throw new ConfigurationException(path, $"{key} is not given. Add it, or download the file again."), key, path);

    private static int Positive(int value, string key, string path) =>
        value > 0 ? value : throw new ConfigurationException(path, $"{key} is {value}; it must be positive. Correct it.");
}

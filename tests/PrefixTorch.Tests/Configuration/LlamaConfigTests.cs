using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using PrefixTorch.Configuration;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Configuration;

public class LlamaConfigTests
{
    public static TheoryData<string> GoldenCases => [.. Repository.GoldenCases];

    [Theory]
    [MemberData(nameof(GoldenCases))]
    public void EveryGoldenCheckpointIsUnderstood(string name)
    {
        string folder = Repository.Fixture("goldens", name);
        JsonNode json = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!;
        var config = LlamaConfig.Load(folder);
        Assert.Equal((int)json["hidden_size"]!, config.HiddenSize);
        Assert.Equal((int)json["num_key_value_heads"]!, config.NumKeyValueHeads);
        Assert.Equal((int?)json["head_dim"] ?? config.HiddenSize / config.NumAttentionHeads, config.HeadDim);
        Assert.Equal((bool)json["attention_bias"]!, config.AttentionBias);
        Assert.Equal((bool)json["mlp_bias"]!, config.MlpBias);
        Assert.Equal((bool)json["tie_word_embeddings"]!, config.TieWordEmbeddings);
        Assert.Equal((double)json["rms_norm_eps"]!, config.RmsNormEps);
        Assert.Equal((string)(json["dtype"] ?? json["torch_dtype"])!, config.DType!.Value.Name());
        JsonNode rope = (json["rope_parameters"] ?? json["rope_scaling"])!;
        Assert.Equal((string)rope["rope_type"]!, config.Rope.RopeType);
        Assert.Equal((double)(rope["rope_theta"] ?? json["rope_theta"])!, config.Rope.RopeTheta);
    }

    [Fact]
    public void ThirteenGoldenCheckpointsAreThere() => Assert.Equal(13, Repository.GoldenCases.Count());

    [Fact]
    public void TheModelThatShipsIsUnderstood()
    {
        var config = LlamaConfig.Load(Repository.TinyTolstoy);
        Assert.Equal((256, 512, 6, 8, 2, 32, 4096), (config.HiddenSize, config.IntermediateSize, config.NumHiddenLayers, config.NumAttentionHeads, config.NumKeyValueHeads, config.HeadDim, config.VocabSize));
        Assert.Equal(new Llama3Rope(500_000, 8, 1, 4, 512), config.Rope);
        Assert.Equal(4080, config.BosTokenId);
        Assert.Equal([4081], config.EosTokenIds);
        Assert.Equal(DType.BFloat16, config.DType);
        Assert.Null(config.Quantization);
        Assert.Equal([4081, 4089], GenerationConfig.Load(Repository.TinyTolstoy, config).EosTokenIds);
    }

    [Fact]
    public void Llama2IsUnderstoodAsPublished()
    {
        var config = Parse("""
            {"_name_or_path": "meta-llama/Llama-2-7b-hf", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
             "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096,
             "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
             "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float16",
             "transformers_version": "4.31.0.dev0", "use_cache": true, "vocab_size": 32000}
            """);
        Assert.Equal(new DefaultRope(10_000), config.Rope);
        Assert.Equal((32, 128, 32_000), (config.NumKeyValueHeads, config.HeadDim, config.VocabSize));
        Assert.Equal(DType.Float16, config.DType);
    }

    [Fact]
    public void TheFirstLlamaHasNoKeyValueHeadsAndNoRope()
    {
        var config = Parse("""
            {"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 5120,
             "intermediate_size": 13824, "max_sequence_length": 2048, "model_type": "llama", "num_attention_heads": 40,
             "num_hidden_layers": 40, "pad_token_id": 0, "rms_norm_eps": 1e-06, "vocab_size": 32000}
            """);
        Assert.Equal((40, 128, 2048), (config.NumKeyValueHeads, config.HeadDim, config.MaxPositionEmbeddings));
        Assert.Equal(new DefaultRope(10_000), config.Rope);
        Assert.Null(config.DType);
    }

    [Fact]
    public void Llama3IsUnderstoodAsPublished()
    {
        var config = Parse("""
            {"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
             "eos_token_id": 128009, "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 8192,
             "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1,
             "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 500000.0, "tie_word_embeddings": false,
             "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 128256}
            """);
        Assert.Equal(new DefaultRope(500_000), config.Rope);
        Assert.Equal((8, 128, 14_336), (config.NumKeyValueHeads, config.HeadDim, config.IntermediateSize));
        Assert.Equal(128_000, config.BosTokenId);
    }

    [Theory]
    [InlineData(8.0, 4096, 32, 8, 32, false)]
    [InlineData(32.0, 2048, 32, 8, 16, true)]
    [InlineData(8.0, 8192, 64, 8, 80, false)]
    public void Llama31To33AreUnderstoodAsPublished(double factor, int hidden, int heads, int keyValueHeads, int layers, bool tied)
    {
        var config = Parse($$"""
            {"architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009],
             "head_dim": {{hidden / heads}}, "hidden_act": "silu", "hidden_size": {{hidden}}, "intermediate_size": 14336,
             "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": {{heads}},
             "num_hidden_layers": {{layers}}, "num_key_value_heads": {{keyValueHeads}}, "rms_norm_eps": 1e-05,
             "rope_scaling": {"factor": {{factor:0.0}}, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
             "rope_theta": 500000.0, "tie_word_embeddings": {{(tied ? "true" : "false")}}, "torch_dtype": "bfloat16", "vocab_size": 128256}
            """);
        Assert.Equal(new Llama3Rope(500_000, factor, 1, 4, 8192), config.Rope);
        Assert.Equal([128_001, 128_008, 128_009], config.EosTokenIds);
        Assert.Equal(tied, config.TieWordEmbeddings);
        Assert.Equal(hidden / heads, config.HeadDim);
    }

    [Fact]
    public void TinyLlamaIsUnderstoodAsPublished()
    {
        var config = Parse("""
            {"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 2048,
             "initializer_range": 0.02, "intermediate_size": 5632, "max_position_embeddings": 2048, "model_type": "llama",
             "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
             "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 32000}
            """);
        Assert.Equal((4, 64, 22), (config.NumKeyValueHeads, config.HeadDim, config.NumHiddenLayers));
    }

    [Fact]
    public void BothSpellingsOfRopeAndDTypeSayTheSame()
    {
        var old = With("""{"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}, "torch_dtype": "torch.bfloat16"}""");
        var current = With("""{"rope_parameters": {"rope_type": "linear", "rope_theta": 500000, "factor": 4.0}, "dtype": "bfloat16"}""");
        Assert.Equal(old.Rope, current.Rope);
        Assert.Equal(old.DType, current.DType);
        Assert.Equal(new LinearRope(500_000, 4), old.Rope);
    }

    [Fact]
    public void BothSpellingsAtOnceAreMergedWhereTheyAgree()
    {
        var config = With("""{"rope_theta": 500000, "rope_scaling": {"type": "linear", "factor": 4.0}, "rope_parameters": {"rope_type": "linear", "rope_theta": 500000.0, "factor": 4.0}}""");
        Assert.Equal(new LinearRope(500_000, 4), config.Rope);
    }

    [Fact]
    public void YarnResolvesItsAttentionFactor()
    {
        var plain = (YarnRope)With("""{"rope_scaling": {"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 64}}""").Rope;
        Assert.Equal((0.1 * Math.Log(8)) + 1, plain.AttentionFactor, 1e-12);
        Assert.Equal((32.0, 1.0, true), (plain.BetaFast, plain.BetaSlow, plain.Truncate));

        var given = (YarnRope)With("""{"rope_scaling": {"rope_type": "yarn", "factor": 8, "attention_factor": 0.7, "beta_fast": 16, "beta_slow": 2, "truncate": false}}""").Rope;
        Assert.Equal(new YarnRope(10_000, 8, 2048, 0.7, 16, 2, false), given);

        var ratio = (YarnRope)With("""{"rope_scaling": {"rope_type": "yarn", "factor": 8, "mscale": 1.0, "mscale_all_dim": 0.5}}""").Rope;
        Assert.Equal(((0.1 * Math.Log(8)) + 1) / ((0.05 * Math.Log(8)) + 1), ratio.AttentionFactor, 1e-12);

        var implied = (YarnRope)With("""{"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 1024}}""").Rope;
        Assert.Equal(4, implied.Factor);
    }

    [Fact]
    public void NullTokensAreNoneAndAbsentOnesAreLlamas()
    {
        Assert.Equal((1, 2), (With("{}").BosTokenId, With("{}").EosTokenIds[0]));
        var none = With("""{"bos_token_id": null, "eos_token_id": null}""");
        Assert.Null(none.BosTokenId);
        Assert.Empty(none.EosTokenIds);
    }

    [Fact]
    public void HarmlessUnknownKeysAreIgnored() => With("""{"use_cache": true, "auto_map": {"AutoModel": "x"}, "_attn_implementation_autoset": true, "pretraining_tp": 2}""");

    [Fact]
    public void SwishIsSilu() => With("""{"hidden_act": "swish"}""");

    [Theory]
    [InlineData("""{"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [64, 32]}""", "fp8", 64, 32)]
    [InlineData("""{"quant_method": "fp8", "activation_scheme": "static"}""", "fp8", 128, 128)]
    [InlineData("""{"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}""", "fbgemm_fp8", 128, 128)]
    [InlineData("""{"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {}}""", "compressed-tensors", 128, 128)]
    public void EightBitFloatsPass(string quantization, string method, int rows, int columns) =>
        Assert.Equal(new QuantizationConfig(method, rows, columns), With($$"""{"quantization_config": {{quantization}}}""").Quantization);

    [Theory]
    [InlineData("""{"architectures": ["MistralForCausalLM"]}""", "MistralForCausalLM")]
    [InlineData("""{"architectures": ["LlamaModel"]}""", "LlamaModel")]
    [InlineData("""{"model_type": "mistral"}""", "mistral")]
    [InlineData("""{"model_type": null, "architectures": null}""", "model_type")]
    [InlineData("""{"hidden_act": "gelu"}""", "gelu")]
    [InlineData("""{"hidden_size": null}""", "hidden_size")]
    [InlineData("""{"hidden_size": 0}""", "hidden_size is 0")]
    [InlineData("""{"hidden_size": -64}""", "hidden_size is -64")]
    [InlineData("""{"hidden_size": "64"}""", "hidden_size")]
    [InlineData("""{"hidden_size": 64.5}""", "hidden_size")]
    [InlineData("""{"hidden_size": 99999999999}""", "hidden_size")]
    [InlineData("""{"hidden_size": 66}""", "66 is not a multiple of num_attention_heads 8")]
    [InlineData("""{"intermediate_size": 0}""", "intermediate_size is 0")]
    [InlineData("""{"num_hidden_layers": 0}""", "num_hidden_layers is 0")]
    [InlineData("""{"num_attention_heads": -1}""", "num_attention_heads is -1")]
    [InlineData("""{"num_key_value_heads": 0}""", "num_key_value_heads is 0")]
    [InlineData("""{"num_key_value_heads": 3}""", "8 is not a multiple of num_key_value_heads 3")]
    [InlineData("""{"head_dim": 7}""", "head_dim is 7")]
    [InlineData("""{"vocab_size": 0}""", "vocab_size is 0")]
    [InlineData("""{"max_position_embeddings": 0}""", "max_position_embeddings is 0")]
    [InlineData("""{"rms_norm_eps": -1e-5}""", "rms_norm_eps")]
    [InlineData("""{"eos_token_id": "</s>"}""", "eos_token_id")]
    [InlineData("""{"eos_token_id": [1, -2]}""", "-2")]
    [InlineData("""{"torch_dtype": "int4"}""", "int4")]
    [InlineData("""{"rope_theta": 0}""", "rope_theta is 0")]
    [InlineData("""{"partial_rotary_factor": 0.5}""", "partial_rotary_factor is 0.5")]
    [InlineData("""{"quantization_config": {"quant_method": "gptq", "bits": 4}}""", "gptq")]
    [InlineData("""{"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}}""", "pack-quantized")]
    [InlineData("""{"quantization_config": {"bits": 4}}""", "quant_method")]
    [InlineData("""{"quantization_config": {"quant_method": "prefixtorch", "format": "int4"}}""", "int4 codes are of version 1, and version 3 is read. Quantize")]
    [InlineData("""{"quantization_config": {"quant_method": "prefixtorch", "format": "int8", "version": 4}}""", "int8 codes are of version 4, and version 3")]
    [InlineData("""{"quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 128]}}""", "weight_block_size")]
    public void WhatIsNotUnderstoodIsRefusedByName(string change, string named) => Refuses(change, named);

    [Theory]
    [InlineData("""{"type": "dynamic", "factor": 2.0}""", "depend on the final length")]
    [InlineData("""{"rope_type": "longrope", "short_factor": [1], "long_factor": [2]}""", "longrope")]
    [InlineData("""{"rope_type": "mrope"}""", "mrope")]
    [InlineData("""{"rope_type": "linear"}""", "needs the key 'factor'")]
    [InlineData("""{"rope_type": "linear", "factor": 0}""", "factor is 0")]
    [InlineData("""{"rope_type": "linear", "factor": "2"}""", "factor is \"2\"")]
    [InlineData("""{"rope_type": "linear", "factor": 2, "mrope_section": [1, 2]}""", "mrope_section")]
    [InlineData("""{"rope_type": "llama3", "factor": 8, "high_freq_factor": 4}""", "low_freq_factor")]
    [InlineData("""{"rope_type": "llama3", "factor": 8, "high_freq_factor": 1, "low_freq_factor": 1}""", "not greater")]
    [InlineData("""{"rope_type": "llama3", "factor": 8, "high_freq_factor": 4, "low_freq_factor": 1, "original_max_position_embeddings": 8192.5}""", "original_max_position_embeddings")]
    [InlineData("""{"rope_type": "yarn", "factor": -8}""", "factor is -8")]
    [InlineData("""{"rope_type": "yarn", "factor": 8, "truncate": 1}""", "truncate")]
    [InlineData("""{"rope_type": "linear", "type": "yarn", "factor": 8}""", "type is 'yarn'")]
    [InlineData("""{"rope_type": "default", "partial_rotary_factor": 0.25}""", "partial_rotary_factor")]
    [InlineData("""{"rope_type": 3}""", "rope_type is 3")]
    [InlineData("""[1, 2]""", "not an object")]
    [InlineData("""{"full_attention": {"rope_type": "default"}}""", "full_attention")]
    public void RopeThatIsNotUnderstoodIsRefusedByName(string rope, string named)
    {
        Refuses($$"""{"rope_scaling": {{rope}}}""", named);
        Refuses($$"""{"rope_parameters": {{rope}}}""", named);
    }

    [Fact]
    public void SpellingsThatContradictEachOtherAreRefused()
    {
        Refuses("""{"rope_scaling": {"rope_type": "linear", "factor": 2}, "rope_parameters": {"rope_type": "linear", "factor": 4}}""", "'factor' is 2 in rope_scaling, but 4");
        Refuses("""{"rope_theta": 10000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}""", "rope_theta is 10000, but 500000");
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("""{"hidden_size": 1, "hidden_size": 2}""")]
    public void WhatIsNoJsonObjectIsRefused(string text) => Assert.Throws<ConfigurationException>(() => Parse(text));

    [Theory]
    [InlineData("""{"rope_scaling": {"\ud800": 1}}""")]
    [InlineData("""{"rope_scaling": {"rope_type": "\ud800"}}""")]
    [InlineData("""{"hidden_act": "\ud800"}""")]
    public void HalfASurrogatePairIsRefused(string change) => Assert.Throws<ConfigurationException>(() => Parse("{\"model_type\": \"llama\", \"hidden_size\": 8, \"num_attention_heads\": 1, \"num_hidden_layers\": 1, \"intermediate_size\": 1, \"vocab_size\": 1, " + change[1..]));

    [Fact]
    public void WhatIsNotUtf8IsRefused() => Assert.Throws<ConfigurationException>(() => LlamaConfig.Parse([(byte)'{', (byte)'"', 0xFB, (byte)'"']));

    [Fact]
    public void AMissingFileIsNamed()
    {
        var error = Assert.Throws<ConfigurationException>(() => LlamaConfig.Load(Repository.Fixture("text")));
        Assert.EndsWith("config.json", error.Path, StringComparison.Ordinal);
        Assert.StartsWith(error.Path, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AByteOrderMarkIsTolerated() => Parse("\uFEFF" + Changed("{}"));

    [Fact]
    public void AMutatedConfigIsReadOrRefused()
    {
        byte[] json = File.ReadAllBytes(Path.Combine(Repository.TinyTolstoy, "config.json"));
        Gen.Select(Gen.Int[0, json.Length - 1], Gen.OneOf(Gen.Byte, Gen.OneOf("0123456789-.e\"{}[],:"u8.ToArray()))).Array[1, 4].Sample(changes =>
        {
            byte[] mutant = [.. json];
            foreach ((int position, byte value) in changes)
            {
                mutant[position] = value;
            }

            try
            {
                var config = LlamaConfig.Parse(mutant);
                Assert.Equal(config.HeadDim / 2, RopeFrequencies.Compute(config).InverseFrequencies.Length);
            }
            catch (ConfigurationException error)
            {
                Assert.StartsWith("config.json: ", error.Message, StringComparison.Ordinal);
            }
        }, iter: 10_000);
    }

    internal static LlamaConfig With(string change) => Parse(Changed(change));

    private static void Refuses(string change, string named)
    {
        var error = Assert.Throws<ConfigurationException>(() => With(change));
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
        Assert.StartsWith("config.json: ", error.Message, StringComparison.Ordinal);
    }

    private static string Changed(string change)
    {
        JsonObject json = JsonNode.Parse("""
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 160,
             "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 320}
            """)!.AsObject();
        foreach ((string key, JsonNode? value) in JsonNode.Parse(change)!.AsObject())
        {
            json[key] = value?.DeepClone();
        }

        return json.ToJsonString();
    }

    private static LlamaConfig Parse(string json) => LlamaConfig.Parse(Encoding.UTF8.GetBytes(json));
}

using System.Diagnostics;
using System.Runtime.InteropServices;
using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Checkpoints;

namespace PrefixTorch.Tests.Tools;

/// <summary>Runs <c>tools/make-checkpoint.cs</c>, which shares no code with the library, and reads what it makes.</summary>
public sealed class MakeCheckpointTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task TheTinyPresetIsACheckpointAsPublished()
    {
        await Make("--preset", "tiny", "--tokenizer", Repository.TinyTolstoy);
        var config = LlamaConfig.Load(_folder.Path);
        using var checkpoint = Checkpoint.Open(_folder.Path);
        WeightCheck.Check(checkpoint, Expected(config));
        Assert.Single(checkpoint.Files);
        Assert.All(checkpoint.Tensors.Values, tensor => Assert.Equal(DType.BFloat16, tensor.DType));
        Assert.Equal(config.EosTokenIds, GenerationConfig.Load(_folder.Path, config).EosTokenIds);
        Assert.True(File.Exists(_folder.File("tokenizer.json")));

        // 0.02 apart around zero; norms around one.
        float[] embeddings = Array.ConvertAll(MemoryMarshal.Cast<byte, ushort>(checkpoint["model.embed_tokens.weight"].Bytes).ToArray(), Float8.BFloat16ToSingle);
        Assert.Equal(0, embeddings.Average(), 1e-3);
        Assert.Equal(0.02, Math.Sqrt(embeddings.Average(value => value * value)), 1e-3);
        Assert.All(MemoryMarshal.Cast<byte, ushort>(checkpoint["model.norm.weight"].Bytes).ToArray(), value => Assert.InRange(Float8.BFloat16ToSingle(value), 0.9f, 1.1f));
    }

    [Fact]
    public async Task ShardsShapesTypesAndBiasesMayBeChosen()
    {
        await Make("--shards", "5", "--dtype", "float32", "--head-dim", "16", "--attention-bias", "true", "--mlp-bias", "true", "--tie-word-embeddings", "true", "--rope-parameters", """{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}""");
        var config = LlamaConfig.Load(_folder.Path);
        Assert.Equal((16, true, true, DType.Float32), (config.HeadDim, config.AttentionBias, config.TieWordEmbeddings, config.DType));
        Assert.IsType<YarnRope>(config.Rope);
        using var checkpoint = Checkpoint.Open(_folder.Path);
        Assert.Equal(5, checkpoint.Files.Count);
        WeightCheck.Check(checkpoint, Expected(config));
        Assert.False(checkpoint.Tensors.ContainsKey("lm_head.weight"));
    }

    [Fact]
    public async Task ASeedMakesTheSameWeightsInAnySharding()
    {
        await Make("--seed", "3");
        string one = Fingerprint();
        await Make("--seed", "3", "--shards", "4", "--force");
        Assert.Equal(one, Fingerprint());
        await Make("--seed", "4", "--force");
        Assert.NotEqual(one, Fingerprint());
    }

    [Theory]
    [InlineData("--preset", "gpt-2")]
    [InlineData("--hidden-size", "-1")]
    [InlineData("--unknown", "1")]
    [InlineData("--shards", "1000")]
    public async Task AWrongCommandLineIsNamed(string name, string value)
    {
        (int code, string error) = await Run("--out", _folder.Path, name, value);
        Assert.Equal(2, code);
        Assert.Contains(value == "1" ? name : value, error, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    private string Fingerprint()
    {
        using var checkpoint = Checkpoint.Open(_folder.Path);
        return CheckpointFingerprint.Compute(checkpoint);
    }

    private async Task Make(params string[] arguments)
    {
        (int code, string error) = await Run(["--out", _folder.Path, .. arguments]);
        Assert.True(code == 0, error);
    }

    private static async Task<(int Code, string Error)> Run(params string[] arguments)
    {
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet", ["run", Path.Combine(Repository.Root, "tools", "make-checkpoint.cs"), "--", .. arguments])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };

        // What the test runner tells its own build is not meant for this one.
        foreach (string name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase) || name.StartsWith("TESTINGPLATFORM", StringComparison.OrdinalIgnoreCase)).ToArray())
        {
            start.Environment.Remove(name);
        }

        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        string error = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string text = await output + error;
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (process.ExitCode, text);
    }

    private static List<ExpectedWeight> Expected(LlamaConfig config)
    {
        long hidden = config.HiddenSize, intermediate = config.IntermediateSize, queries = config.NumAttentionHeads * config.HeadDim, keys = config.NumKeyValueHeads * config.HeadDim;
        List<ExpectedWeight> expected =
        [
            new("model.embed_tokens.weight", [config.VocabSize, hidden]),
            new("model.norm.weight", [hidden]),
            new("lm_head.weight", [config.VocabSize, hidden], Optional: config.TieWordEmbeddings),
        ];
        for (int layer = 0; layer < config.NumHiddenLayers; layer++)
        {
            void Linear(string name, long rows, long columns, bool bias)
            {
                expected.Add(new($"model.layers.{layer}.{name}.weight", [rows, columns]));
                if (bias)
                {
                    expected.Add(new($"model.layers.{layer}.{name}.bias", [rows]));
                }
            }

            expected.Add(new($"model.layers.{layer}.input_layernorm.weight", [hidden]));
            expected.Add(new($"model.layers.{layer}.post_attention_layernorm.weight", [hidden]));
            Linear("self_attn.q_proj", queries, hidden, config.AttentionBias);
            Linear("self_attn.k_proj", keys, hidden, config.AttentionBias);
            Linear("self_attn.v_proj", keys, hidden, config.AttentionBias);
            Linear("self_attn.o_proj", hidden, queries, config.AttentionBias);
            Linear("mlp.gate_proj", intermediate, hidden, config.MlpBias);
            Linear("mlp.up_proj", intermediate, hidden, config.MlpBias);
            Linear("mlp.down_proj", hidden, intermediate, config.MlpBias);
        }

        return expected;
    }
}

using System.Runtime.InteropServices;
using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Configuration;

/// <summary>The first layer's keys, computed here from the embeddings without any of the model's code, against those that Hugging Face kept.</summary>
public class RopeGoldenTests
{
    public static TheoryData<string> GoldenCases => [.. Repository.GoldenCases];

    [Theory]
    [MemberData(nameof(GoldenCases))]
    public void KeysAreTurnedAsInHuggingFace(string name)
    {
        string folder = Repository.Fixture("goldens", name);
        var config = LlamaConfig.Load(folder);
        var rope = RopeFrequencies.Compute(config);
        using var checkpoint = Checkpoint.Open(folder);
        using var golden = SafetensorsFile.Open(Path.Combine(folder, "golden.safetensors"));
        float[] hidden = MemoryMarshal.Cast<byte, float>(golden.Bytes(golden["hidden.0"])).ToArray();
        float[] expected = MemoryMarshal.Cast<byte, float>(golden.Bytes(golden["key.0"])).ToArray();
        float[] norm = Floats(checkpoint["model.layers.0.input_layernorm.weight"]);
        float[] projection = Floats(checkpoint["model.layers.0.self_attn.k_proj.weight"]);
        float[]? bias = config.AttentionBias ? Floats(checkpoint["model.layers.0.self_attn.k_proj.bias"]) : null;

        // key.0 is [1, KV, P, D].
        int length = (int)golden["key.0"].Shape[2];
        (int dim, int half) = (config.HeadDim, config.HeadDim / 2);
        for (int position = 0; position < length; position++)
        {
            float[] input = Normalize(hidden.AsSpan(position * config.HiddenSize, config.HiddenSize), norm, config.RmsNormEps);
            for (int head = 0; head < config.NumKeyValueHeads; head++)
            {
                double[] key = [.. Enumerable.Range(head * dim, dim).Select(row => Dot(projection.AsSpan(row * input.Length, input.Length), input) + (bias?[row] ?? 0))];
                for (int i = 0; i < dim; i++)
                {
                    float angle = position * rope.InverseFrequencies.Span[i % half];
                    double turned = (key[i] * Math.Cos(angle)) + ((i < half ? -key[i + half] : key[i - half]) * Math.Sin(angle));
                    Assert.Equal(expected[(((head * length) + position) * dim) + i], turned * rope.AttentionScaling, 1e-5);
                }
            }
        }
    }

    private static float[] Normalize(ReadOnlySpan<float> hidden, float[] weight, double eps)
    {
        double squares = Dot(hidden, hidden);
        var normalized = new float[hidden.Length];
        for (int i = 0; i < normalized.Length; i++)
        {
            normalized[i] = (float)(hidden[i] / Math.Sqrt((squares / hidden.Length) + eps) * weight[i]);
        }

        return normalized;
    }

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += (double)a[i] * b[i];
        }

        return sum;
    }

    private static float[] Floats(CheckpointTensor tensor) => tensor.DType switch
    {
        DType.Float32 => MemoryMarshal.Cast<byte, float>(tensor.Bytes).ToArray(),
        DType.Float16 => Array.ConvertAll(MemoryMarshal.Cast<byte, Half>(tensor.Bytes).ToArray(), value => (float)value),
        DType.BFloat16 => Array.ConvertAll(MemoryMarshal.Cast<byte, ushort>(tensor.Bytes).ToArray(), Float8.BFloat16ToSingle),
        _ => throw new NotSupportedException(tensor.ToString()),
    };
}

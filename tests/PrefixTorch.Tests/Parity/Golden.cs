using System.Runtime.InteropServices;
using System.Text.Json;
using PrefixTorch.Checkpoints;

namespace PrefixTorch.Tests.Parity;

/// <summary>What Hugging Face computed for a checkpoint.</summary>
internal sealed class Golden : IDisposable
{
    private readonly SafetensorsFile _file;
    private readonly JsonDocument _json;

    private Golden(string folder)
    {
        _file = SafetensorsFile.Open(Path.Combine(folder, "golden.safetensors"));
        _json = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")));
        Ids = [.. MemoryMarshal.Cast<byte, long>(_file.Bytes(_file.Tensors["input_ids"])).ToArray().Select(id => (int)id)];
    }

    public int[] Ids { get; }

    public int PrefixLength => Json.GetProperty("prefix_length").GetInt32();

    public int[] GreedyFromPrefix => [.. Json.GetProperty("greedy_from_prefix").EnumerateArray().Select(id => id.GetInt32())];

    public JsonElement Json => _json.RootElement;

    public static Golden Load(string name) => new(Repository.Fixture("goldens", name));

    public float[] Tensor(string name) => MemoryMarshal.Cast<byte, float>(_file.Bytes(_file.Tensors[name])).ToArray();

    public void Dispose()
    {
        _file.Dispose();
        _json.Dispose();
    }

    /// <summary>The checkpoint of a case; the trained one ships as weights.</summary>
    public static string Checkpoint(string name) => name == "trained" ? Repository.TinyTolstoy : Repository.Fixture("goldens", name);

    public static float MaxDistance(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        Assert.Equal(b.Length, a.Length);
        float max = 0;
        for (int i = 0; i < a.Length; i++)
        {
            float distance = MathF.Abs(a[i] - b[i]);
            max = distance > max || float.IsNaN(distance) ? distance : max;
        }

        return max;
    }

    public static double MeanDistance(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        Assert.Equal(b.Length, a.Length);
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += Math.Abs(a[i] - b[i]);
        }

        return sum / a.Length;
    }
}

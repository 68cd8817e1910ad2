using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Caching;

/// <summary>The trained model that ships, loaded once for all tests of caches.</summary>
internal static class Tolstoy
{
    public const string Prefix = "The old prince looked at his son";

    private static readonly Lazy<Llama> s_fp32 = new(() => Load(DType.Float32));
    private static readonly Lazy<Llama> s_asStored = new(() => Load(null));
    private static readonly Lazy<Llama> s_wideCache = new(() => Llama.LoadAsync(Repository.TinyTolstoy, new() { KvDType = DType.Float32 }).GetAwaiter().GetResult());

    private static readonly Lazy<Llama> s_eightBits = new(() => Llama.LoadAsync(Repository.TinyTolstoy, new() { KvDType = DType.Int8 }).GetAwaiter().GetResult());

    /// <summary>Weights, keys and values in fp32.</summary>
    public static Llama Fp32 => s_fp32.Value;

    /// <summary>As stored: bf16.</summary>
    public static Llama AsStored => s_asStored.Value;

    /// <summary>Weights as stored, keys and values in fp32.</summary>
    public static Llama WideCache => s_wideCache.Value;

    /// <summary>Weights as stored, keys and values in 8 bits.</summary>
    public static Llama EightBits => s_eightBits.Value;

    /// <summary>The bytes of a cache's keys and values, layer by layer.</summary>
    public static byte[] Bytes(KvCache cache)
    {
        List<byte> bytes = [];
        for (int layer = 0; layer < cache.Layout.Layers; layer++)
        {
            (TorchSharp.torch.Tensor key, TorchSharp.torch.Tensor value) = cache.ToTensors(layer);
            using (key)
            using (value)
            {
                bytes.AddRange(key.bytes);
                bytes.AddRange(value.bytes);
            }
        }

        return [.. bytes];
    }

    private static Llama Load(DType? dtype) => Llama.LoadAsync(Repository.TinyTolstoy, new() { DType = dtype }).GetAwaiter().GetResult();
}

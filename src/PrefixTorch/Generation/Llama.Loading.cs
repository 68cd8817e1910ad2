using PrefixTorch.Checkpoints;
using PrefixTorch.Checkpoints.Hub;
using PrefixTorch.Configuration;
using PrefixTorch.Memory;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Generation;

/// <content>From a folder to a model.</content>
public sealed partial class Llama
{
    private static readonly string[] s_tokenizerFiles = ["tokenizer.json", "tokenizer.model"];

    /// <summary>
    /// Loads a folder as Hugging Face publishes it: config.json, safetensors in one file or in shards, a tokenizer. Weights are mapped, so that
    /// loading takes no time and little memory; the first pass reads them.
    /// </summary>
    /// <param name="folder">The folder.</param>
    /// <param name="options">Dtypes, device, threads.</param>
    /// <param name="cancellationToken">Looked at between the parts.</param>
    /// <returns>The model; the caller disposes it.</returns>
    /// <exception cref="PrefixTorchException">What is missing or not understood, by name.</exception>
    public static Task<Llama> LoadAsync(string folder, LlamaOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return Task.Run(() => Load(folder, options ?? new(), cancellationToken), cancellationToken);
    }

    private static Llama Load(string folder, LlamaOptions options, CancellationToken cancellationToken)
    {
        Check(options);
        if (!Directory.Exists(folder))
        {
            throw new PrefixTorchException($"There is no folder {Path.GetFullPath(folder)}; give the folder of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json).");
        }

        LlamaConfig config = LlamaConfig.Load(folder);
        GenerationConfig generationConfig = options.GenerationConfigFile is string file ? ReadGenerationConfig(file, config) : GenerationConfig.Load(folder, config);

        cancellationToken.ThrowIfCancellationRequested();
        Task<LlamaTokenizer?> tokenizer = Task.Run(() => s_tokenizerFiles.Any(name => File.Exists(Path.Combine(folder, name))) ? LlamaTokenizer.Load(folder) : null, cancellationToken);
        string name = PulledModels.NameOf(Path.GetFullPath(folder)) ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        if (options.Quantization is Quantization quantization)
        {
            folder = Quantized(folder, config, quantization, options, cancellationToken);
            config = LlamaConfig.Load(folder);
            name += config.Quantization?.Format is string format && !name.EndsWith(format, StringComparison.Ordinal) ? "-" + format : "";
        }

        if (options.DType is DType asked && config.Quantization is { IsOurs: true } quantized)
        {
            throw new PrefixTorchException($"{folder} holds {quantized.Format} weights and {asked.Name()} was asked for; load the original checkpoint in {asked.Name()}.");
        }

        Checkpoint? checkpoint = null;
        try
        {
            checkpoint = Checkpoint.Open(folder);
            return new Llama(folder, name, options, config, generationConfig, tokenizer, checkpoint);
        }
        catch
        {
            checkpoint?.Dispose();
            throw;
        }
    }

    /// <summary>Where weights of so many bytes lie, with so many bytes free.</summary>
    /// <remarks>Auto is the map: the first token comes several times as soon, and a copy makes that up only after some hundred tokens (README, Loading).</remarks>
    /// <exception cref="PrefixTorchException">A copy was asked for that cannot be, or finds no room.</exception>
    internal static LoadMode ChooseLoad(LlamaOptions options, long bytes, long free)
    {
        if (options.Load != LoadMode.Copy)
        {
            return LoadMode.Map;
        }

        if (options.Device != "cpu")
        {
            throw new PrefixTorchException($"A copy of the weights in memory was asked for on {options.Device}, which has a copy of its own; load with auto or map.");
        }

        return bytes <= free
            ? LoadMode.Copy
            : throw new PrefixTorchException($"A copy of the weights was asked for: it takes {bytes:N0} bytes and {free:N0} are free. Load with auto or map, or quantize the model.");
    }

    private static GenerationConfig ReadGenerationConfig(string path, LlamaConfig config)
    {
        try
        {
            return GenerationConfig.Parse(File.ReadAllBytes(path), config, path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new PrefixTorchException($"The generation config {path} cannot be read: {error.Message}", error);
        }
    }

    private static void Check(LlamaOptions options)
    {
        CheckHeld("dtype", options.DType, DType.Float32, DType.BFloat16, DType.Float16);
        CheckHeld("KV dtype", options.KvDType, DType.Float32, DType.BFloat16, DType.Float16, DType.Int8);
        CheckThreads(options.Threads);
        if (options.PrefillChunk is < 1 or > 8192)
        {
            throw new PrefixTorchException($"A prefill chunk of {options.PrefillChunk} tokens was asked for; it must be at least 1 and at most 8192.");
        }
    }

    private static void CheckThreads(int? threads)
    {
        if (threads is < 1 or > 1024)
        {
            throw new PrefixTorchException($"{threads} threads were asked for; there must be at least 1 and at most 1024.");
        }
    }

    private static void CheckHeld(string what, DType? dtype, params DType[] held)
    {
        if (dtype is DType asked && !held.Contains(asked))
        {
            throw new PrefixTorchException($"The {what} {asked.Name()} was asked for; this version holds {string.Join(", ", held.Select(DTypes.Name))}.");
        }
    }
}

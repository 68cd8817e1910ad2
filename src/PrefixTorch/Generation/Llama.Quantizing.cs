using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using PrefixTorch.Model;

namespace PrefixTorch.Generation;

/// <content>From floats to codes.</content>
public sealed partial class Llama
{
    /// <summary>
    /// Makes a quantized checkpoint of one in floating point, a folder like any other: <see cref="LoadAsync"/> maps it.
    /// </summary>
    /// <param name="folder">The checkpoint.</param>
    /// <param name="target">The folder to write.</param>
    /// <param name="quantization">To what.</param>
    /// <param name="threads">Threads; null: one for each processor.</param>
    /// <param name="progress">Told of the matrices done, of how many.</param>
    /// <param name="cancellationToken">Looked at between tensors.</param>
    /// <exception cref="PrefixTorchException">The checkpoint cannot be read or is quantized already, or the target not written, or it holds another checkpoint.</exception>
    public static Task QuantizeAsync(string folder, string target, Quantization quantization, int? threads = null, IProgress<(int Done, int Total)>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(target);
        CheckThreads(threads);
        return Task.Run(
            () =>
            {
                using var pool = new KernelPool(threads ?? Environment.ProcessorCount);
                Quantizer.Write(folder, FormatOf(quantization), target, pool, progress, cancellationToken);
            },
            cancellationToken);
    }

    private static WeightFormat FormatOf(Quantization quantization) => quantization == Quantization.Int8 ? WeightFormat.Int8 : WeightFormat.Int4;

    // The folder with the codes of a model: its own, if it is quantized so, or one that was made before, or is made now.
    private static string Quantized(string folder, LlamaConfig config, Quantization quantization, LlamaOptions options, CancellationToken cancellationToken)
    {
        string name = quantization.ToString().ToLowerInvariant();
        if (config.Quantization is { IsOurs: true } own)
        {
            return own.Format == name
                ? folder
                : throw new PrefixTorchException($"{folder} holds {own.Format} weights and {name} was asked for; quantize the original checkpoint to {name}.");
        }

        string source;
        using (Checkpoint checkpoint = Checkpoint.Open(folder))
        {
            source = CheckpointFingerprint.Compute(checkpoint);
        }

        string beside = Path.Combine(folder, $"prefixtorch-{name}");
        string cached = Path.Combine(LibTorch.CacheFolder, "quantized", $"{source}-{name}");
        foreach (string made in new[] { beside, cached })
        {
            if (IsQuantizationOf(made, source))
            {
                return made;
            }
        }

        using var pool = new KernelPool(options.Threads ?? Environment.ProcessorCount);
        try
        {
            Quantizer.Write(folder, FormatOf(quantization), beside, pool, options.QuantizationProgress, cancellationToken);
            return beside;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CheckpointException { Error: CheckpointError.NotWritten })
        {
            Quantizer.Write(folder, FormatOf(quantization), cached, pool, options.QuantizationProgress, cancellationToken);
            return cached;
        }
    }

    private static bool IsQuantizationOf(string folder, string source)
    {
        string weights = Path.Combine(folder, Checkpoint.SingleFileName);
        if (!File.Exists(Path.Combine(folder, LlamaConfig.FileName)) || !File.Exists(weights))
        {
            return false;
        }

        try
        {
            using SafetensorsFile file = SafetensorsFile.Open(weights);
            return file.Metadata.GetValueOrDefault(Quantizer.SourceKey) == source && file.Metadata.GetValueOrDefault(Quantizer.VersionKey) == $"{QuantizationConfig.OurVersion}";
        }
        catch (CheckpointException damaged)
        {
            throw new PrefixTorchException($"{folder} was made by quantizing and is damaged; delete it, and it is made again. {damaged.Message}", damaged);
        }
    }
}

using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;
using PrefixTorch.Memory;
using PrefixTorch.Model;

namespace PrefixTorch.Generation;

/// <summary>A tensor of a file.</summary>
/// <param name="Name">Its name.</param>
/// <param name="DType">The type of its elements, as the file spells it.</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="ByteCount">Its size.</param>
/// <param name="File">The name of the file that holds it.</param>
public sealed record TensorInfo(string Name, string DType, IReadOnlyList<long> Shape, long ByteCount, string File);

/// <summary>What is in a checkpoint or another safetensors file; nothing is loaded.</summary>
public sealed record CheckpointInfo
{
    /// <summary>The folder or file.</summary>
    public required string Path { get; init; }

    /// <summary>The names of its safetensors files.</summary>
    public required IReadOnlyList<string> Files { get; init; }

    /// <summary>Its tensors, by name.</summary>
    public required IReadOnlyList<TensorInfo> Tensors { get; init; }

    /// <summary>What the files say about themselves.</summary>
    public required IReadOnlyDictionary<string, string> Metadata { get; init; }

    /// <summary>The bytes of all tensors.</summary>
    public required long TotalBytes { get; init; }

    /// <summary>Tells these weights from others; the same however they are cut into shards.</summary>
    public required string Fingerprint { get; init; }

    /// <summary>The architecture; null for a file that is no checkpoint's folder.</summary>
    public LlamaConfig? Config { get; init; }

    /// <summary>The sampling that the checkpoint proposes.</summary>
    public GenerationConfig? GenerationConfig { get; init; }

    /// <summary>What is missing, misshapen or too much, or why the architecture cannot be read; null where all is well.</summary>
    public string? Problem { get; init; }

    /// <summary>The number of weights: of a checkpoint those of the architecture, however they are stored; of another file its elements.</summary>
    public required long ParameterCount { get; init; }

    /// <summary>Reads what there is to know without loading weights.</summary>
    /// <param name="path">A checkpoint's folder, or one safetensors file.</param>
    /// <exception cref="CheckpointException">It is not there, or no safetensors.</exception>
    public static CheckpointInfo Read(string path)
    {
        using var checkpoint = Checkpoint.Open(path);
        var info = new CheckpointInfo
        {
            Path = path,
            Files = [.. checkpoint.Files.Select(file => System.IO.Path.GetFileName(file.Path))],
            Tensors = [.. checkpoint.Tensors.Values.Select(tensor => new TensorInfo(tensor.Name, tensor.DType.FileName(), tensor.Shape, tensor.ByteCount, System.IO.Path.GetFileName(tensor.File.Path)))],
            Metadata = checkpoint.Files.SelectMany(file => file.Metadata).DistinctBy(entry => entry.Key).ToDictionary(),
            TotalBytes = checkpoint.TotalBytes,
            ParameterCount = checkpoint.Tensors.Values.Sum(tensor => TensorShape.Count(tensor.Shape)),
            Fingerprint = CheckpointFingerprint.Compute(checkpoint),
        };
        return Directory.Exists(path) ? info.WithArchitecture(checkpoint) : info;
    }

    private CheckpointInfo WithArchitecture(Checkpoint checkpoint)
    {
        CheckpointInfo info = this;
        try
        {
            var config = LlamaConfig.Load(Path);
            info = info with
            {
                Config = config,
                ParameterCount = LlamaWeights.Expected(config).Where(weight => checkpoint.Tensors.ContainsKey(weight.Name)).Sum(weight => TensorShape.Count(weight.Shape)),
                GenerationConfig = GenerationConfig.Load(Path, config),
            };
            WeightCheck.Check(checkpoint, [.. LlamaWeights.Expected(config, checkpoint)]);
            return info;
        }
        catch (PrefixTorchException error) when (error is ConfigurationException or CheckpointException)
        {
            return info with { Problem = error.Message };
        }
    }
}

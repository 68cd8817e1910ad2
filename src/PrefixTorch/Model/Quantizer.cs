using System.Text.Json;
using System.Text.Json.Nodes;
using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Model;

/// <summary>
/// Makes a checkpoint in int8 or int4 of one in floating point: the same folder layout, so that it is mapped and used like any other.
/// </summary>
/// <remarks>
/// Every matrix is quantized, embedding and head included: on a small model the head is a fifth of what a token reads. Norms and biases stay
/// as they are. A matrix <c>X.weight</c> becomes codes of the same name, I8 or U8 as <see cref="CodeFormat"/> lays them, with <c>X.weight_scale</c>;
/// config.json says so.
/// </remarks>
internal static unsafe class Quantizer
{
    /// <summary>What names the scales, after the weight's name.</summary>
    public const string ScaleSuffix = "_scale";

    /// <summary>The metadata key with the fingerprint of the checkpoint that was quantized.</summary>
    public const string SourceKey = "quantized_from";

    /// <summary>The metadata key with the version of the codes' layout.</summary>
    public const string VersionKey = "code_version";

    private static readonly string[] s_copied =
    [
        "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "LICENSE",
    ];

    /// <summary>Quantizes a folder into another, which is whole when this returns: config.json is written last.</summary>
    /// <param name="folder">A checkpoint in floating point.</param>
    /// <param name="format">Int8 or int4.</param>
    /// <param name="target">The folder to write; made if it is not there.</param>
    /// <param name="pool">Threads.</param>
    /// <param name="progress">Told of each matrix: how many are done, of how many.</param>
    /// <param name="cancellation">Looked at between tensors; nothing usable is left.</param>
    /// <exception cref="PrefixTorchException">The checkpoint cannot be read, or is quantized already; or the target holds another checkpoint.</exception>
    public static void Write(string folder, WeightFormat format, string target, KernelPool pool, IProgress<(int Done, int Total)>? progress, CancellationToken cancellation)
    {
        LlamaConfig config = LlamaConfig.Load(folder);
        if (config.Quantization is { IsOurs: true })
        {
            throw new PrefixTorchException($"{folder} is quantized to {config.Quantization.Format} already; quantize the original checkpoint.");
        }

        using Checkpoint checkpoint = Checkpoint.Open(folder);
        WeightCheck.Check(checkpoint, [.. LlamaWeights.Expected(config, checkpoint)]);
        CheckTarget(target);
        bool isNew = !Directory.Exists(target);
        Directory.CreateDirectory(target);
        List<TensorToWrite> tensors = [];
        List<NativeBlock> scratch = [];
        int done = 0, total = 0;
        try
        {
            foreach (CheckpointTensor tensor in checkpoint.Tensors.Values)
            {
                if (tensor.Name.EndsWith(Float8Scale.Suffixes[0], StringComparison.Ordinal) || tensor.Name.EndsWith(Float8Scale.Suffixes[1], StringComparison.Ordinal))
                {
                    continue;
                }

                if (tensor.Shape.Length == 2)
                {
                    Add(tensor);
                }
                else
                {
                    tensors.Add(new(tensor.Name, tensor.DType, tensor.Shape, writer => writer.Write([new PayloadPiece(tensor.Pointer, tensor.ByteCount)])));
                }
            }

            var metadata = new Dictionary<string, string> { ["format"] = "pt", [SourceKey] = CheckpointFingerprint.Compute(checkpoint), [VersionKey] = $"{QuantizationConfig.OurVersion}" };
            // An older quantization is none until config.json says again what the codes are.
            File.Delete(Path.Combine(target, LlamaConfig.FileName));
            SafetensorsWriter.Write(Path.Combine(target, Checkpoint.SingleFileName), tensors, metadata, new() { Cancellation = cancellation });
        }
        catch when (isNew && !Directory.EnumerateFileSystemEntries(target).Any())
        {
            Directory.Delete(target);
            throw;
        }
        finally
        {
            scratch.ForEach(block => block.Release());
        }

        foreach (string name in s_copied.Where(name => File.Exists(Path.Combine(folder, name))))
        {
            File.Copy(Path.Combine(folder, name), Path.Combine(target, name), overwrite: true);
        }

        WriteConfig(folder, format, target);

        // Codes and scales are made together, when the codes' turn comes; the scales wait for theirs, which is next.
        void Add(CheckpointTensor tensor)
        {
            int rows = (int)tensor.Shape[0], columns = (int)tensor.Shape[1];
            bool int8 = format == WeightFormat.Int8;
            total++;
            (long count, long bytes) = WeightMatrix.StoredShape(format, rows, columns);
            NativeBlock? scales = null;
            tensors.Add(new(tensor.Name, int8 ? DType.Int8 : DType.UInt8, [count, bytes], writer =>
            {
                cancellation.ThrowIfCancellationRequested();
                NativeBlock codes = NativeBlock.Allocate(count * bytes);
                try
                {
                    scales = NativeBlock.Allocate((long)rows * sizeof(float));
                    scratch.Add(scales);
                    System.Runtime.InteropServices.NativeMemory.Clear(codes.Pointer, (nuint)codes.ByteCount);
                    using WeightMatrix source = LlamaWeights.Matrix(checkpoint, config, tensor.Name, null, pool);
                    var job = new QuantizeJob(source, format, codes.Pointer, bytes, (float*)scales.Pointer);
                    pool.Run(rows, ref job);
                    writer.Write([new PayloadPiece(codes.Pointer, codes.ByteCount)]);
                }
                finally
                {
                    codes.Release();
                }

                progress?.Report((++done, total));
            }));
            tensors.Add(new(tensor.Name + ScaleSuffix, DType.Float32, [rows], writer =>
            {
                writer.Write([new PayloadPiece(scales!.Pointer, scales.ByteCount)]);
                scratch.Remove(scales);
                scales.Release();
            }));
        }
    }

    // Weights that were not made by quantizing are somebody's own: of this very checkpoint, too, under whatever name. So is another model's config.json, whatever its weights are kept in.
    private static void CheckTarget(string target)
    {
        if (File.Exists(target))
        {
            throw new PrefixTorchException($"{target} is a file, and a folder is to be written; give another name.");
        }

        foreach (string file in Directory.Exists(target) ? Directory.EnumerateFiles(target, "*.safetensors") : [])
        {
            if (!IsOurs(file))
            {
                throw new PrefixTorchException($"{target} holds {Path.GetFileName(file)}, which was not made by quantizing, or is damaged; give another folder, or delete it.");
            }
        }

        string config = Path.Combine(target, LlamaConfig.FileName);
        if (File.Exists(config) && !IsOurConfig(config))
        {
            throw new PrefixTorchException($"{target} holds another model: its {LlamaConfig.FileName} was not made by quantizing, or is damaged; give another folder, or delete it.");
        }
    }

    private static bool IsOurConfig(string path)
    {
        try
        {
            return JsonNode.Parse(File.ReadAllText(path)) is JsonObject config && config["quantization_config"] is JsonObject made && (string?)made["quant_method"] == QuantizationConfig.OurMethod;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return false;
        }
    }

    private static bool IsOurs(string file)
    {
        try
        {
            using SafetensorsFile weights = SafetensorsFile.Open(file);
            return weights.Metadata.ContainsKey(SourceKey);
        }
        catch (CheckpointException)
        {
            return false;
        }
    }

    private static void WriteConfig(string folder, WeightFormat format, string target)
    {
        JsonObject config = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, LlamaConfig.FileName)))!.AsObject();
        config["quantization_config"] = new JsonObject
        {
            ["quant_method"] = QuantizationConfig.OurMethod,
            ["format"] = format == WeightFormat.Int8 ? "int8" : "int4",
            ["group_size"] = format == WeightFormat.Int8 ? null : CodeFormat.Group,
            ["version"] = QuantizationConfig.OurVersion,
        };
        string path = Path.Combine(target, LlamaConfig.FileName), temporary = path + ".tmp";
        File.WriteAllText(temporary, config.ToJsonString(new JsonSerializerOptions { WriteIndented = true }));
        File.Move(temporary, path, overwrite: true);
    }

    private readonly struct QuantizeJob(WeightMatrix source, WeightFormat format, byte* codes, long bytes, float* scales) : IBlockJob
    {
        public void Run(int row)
        {
            float[] rented = System.Buffers.ArrayPool<float>.Shared.Rent(source.Columns);
            fixed (float* wide = rented)
            {
                source.Widen(KernelSet.Current, row, 1, DType.Float32, (byte*)wide);
                var weights = new ReadOnlySpan<float>(wide, source.Columns);
                scales[row] = format == WeightFormat.Int8
                    ? QuantizeKernel.Int8(weights, (sbyte*)codes + (row * bytes))
                    : QuantizeKernel.Int4(weights, codes + (row / CodeFormat.Panel * bytes), row % CodeFormat.Panel);
            }

            System.Buffers.ArrayPool<float>.Shared.Return(rented);
        }
    }
}

using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Model;

/// <summary>
/// From the names of a Hugging Face checkpoint to a model: matrices stay where they are in the mapped files, unless a copy or another dtype is
/// asked for or they are not aligned. What is not a map lies in huge pages.
/// </summary>
internal static unsafe class LlamaWeights
{
    /// <summary>Reads a model.</summary>
    /// <param name="checkpoint">The checkpoint; may be disposed when this returns.</param>
    /// <param name="config">The resolved configuration.</param>
    /// <param name="dtype">How matrices are held: fp32, bf16 or fp16; null: as stored.</param>
    /// <param name="pool">Threads for copies and conversions.</param>
    /// <param name="copy">Whether matrices are copied into memory of their own.</param>
    /// <exception cref="CheckpointException">Weights are missing, misshapen or unknown: all of them are named.</exception>
    public static LlamaModel Load(Checkpoint checkpoint, LlamaConfig config, DType? dtype, KernelPool pool, bool copy = false)
    {
        WeightCheck.Check(checkpoint, [.. Expected(config, checkpoint)]);
        var loader = new Loader(checkpoint, config, dtype, pool, copy);
        try
        {
            WeightMatrix embedding = loader.Matrix("model.embed_tokens.weight");
            var layers = new DecoderLayer[config.NumHiddenLayers];
            for (int i = 0; i < layers.Length; i++)
            {
                string layer = $"model.layers.{i}";
                layers[i] = new DecoderLayer(
                    loader.Vector($"{layer}.input_layernorm.weight"),
                    new SelfAttention(
                        loader.Linear(config.AttentionBias, $"{layer}.self_attn.q_proj", $"{layer}.self_attn.k_proj", $"{layer}.self_attn.v_proj"),
                        loader.Linear(config.AttentionBias, $"{layer}.self_attn.o_proj")),
                    loader.Vector($"{layer}.post_attention_layernorm.weight"),
                    new FeedForward(
                        loader.Linear(config.MlpBias, $"{layer}.mlp.gate_proj", $"{layer}.mlp.up_proj"),
                        loader.Linear(config.MlpBias, $"{layer}.mlp.down_proj")));
            }

            Vector norm = loader.Vector("model.norm.weight");
            Linear head = config.TieWordEmbeddings ? new Linear(null, embedding) : loader.Linear(false, "lm_head");
            return new LlamaModel(config, embedding, layers, norm, head);
        }
        catch
        {
            loader.DisposeAll();
            throw;
        }
    }

    /// <summary>One matrix of a checkpoint. The caller disposes it.</summary>
    public static WeightMatrix Matrix(Checkpoint checkpoint, LlamaConfig config, string name, DType? dtype, KernelPool pool) =>
        new Loader(checkpoint, config, dtype, pool, copy: false).Matrix(name);

    /// <summary>The weights that a configuration asks of a checkpoint; of codes, their scales too.</summary>
    public static IEnumerable<ExpectedWeight> Expected(LlamaConfig config, Checkpoint checkpoint)
    {
        bool ours = config.Quantization is { IsOurs: true };
        foreach (ExpectedWeight weight in Expected(config))
        {
            WeightFormat format = ours && weight.Shape.Length == 2 && checkpoint.Tensors.TryGetValue(weight.Name, out CheckpointTensor? tensor) ? FormatOf(tensor.DType) : WeightFormat.Float;
            if (format == WeightFormat.Float)
            {
                yield return weight;
                continue;
            }

            (long count, long bytes) = WeightMatrix.StoredShape(format, (int)weight.Shape[0], (int)weight.Shape[1]);
            yield return weight with { Shape = [count, bytes] };
            yield return new(weight.Name + Quantizer.ScaleSuffix, [weight.Shape[0]]);
        }
    }

    private static WeightFormat FormatOf(DType dtype) => dtype switch
    {
        DType.Int8 => WeightFormat.Int8,
        DType.UInt8 => WeightFormat.Int4,
        _ => WeightFormat.Float,
    };

    /// <summary>The weights that a configuration asks for, in floating point.</summary>
    public static IEnumerable<ExpectedWeight> Expected(LlamaConfig config)
    {
        long c = config.HiddenSize, i = config.IntermediateSize, v = config.VocabSize;
        long q = (long)config.NumAttentionHeads * config.HeadDim, kv = (long)config.NumKeyValueHeads * config.HeadDim;
        yield return new("model.embed_tokens.weight", [v, c]);
        for (int n = 0; n < config.NumHiddenLayers; n++)
        {
            (string Name, long Rows, long Columns, bool Bias)[] matrices =
            [
                ("self_attn.q_proj", q, c, config.AttentionBias), ("self_attn.k_proj", kv, c, config.AttentionBias), ("self_attn.v_proj", kv, c, config.AttentionBias),
                ("self_attn.o_proj", c, q, config.AttentionBias), ("mlp.gate_proj", i, c, config.MlpBias), ("mlp.up_proj", i, c, config.MlpBias), ("mlp.down_proj", c, i, config.MlpBias),
            ];
            foreach (var (name, rows, columns, bias) in matrices)
            {
                yield return new($"model.layers.{n}.{name}.weight", [rows, columns]);
                if (bias)
                {
                    yield return new($"model.layers.{n}.{name}.bias", [rows]);
                }
            }

            yield return new($"model.layers.{n}.input_layernorm.weight", [c]);
            yield return new($"model.layers.{n}.post_attention_layernorm.weight", [c]);
        }

        yield return new("model.norm.weight", [c]);
        yield return new("lm_head.weight", [v, c], Optional: config.TieWordEmbeddings);
    }

    private sealed class Loader(Checkpoint checkpoint, LlamaConfig config, DType? dtype, KernelPool pool, bool copy)
    {
        private readonly List<IDisposable> _made = [];

        // Of codes, which are padded, only the configuration knows the shape.
        private readonly Lazy<Dictionary<string, long[]>> _shapes = new(() => Expected(config).ToDictionary(weight => weight.Name, weight => weight.Shape));

        public Linear Linear(bool hasBias, params string[] names)
        {
            WeightMatrix[] parts = [.. names.Select(name => Matrix(name + ".weight"))];
            return new Linear(hasBias ? Vector([.. names.Select(name => name + ".bias")]) : null, parts);
        }

        public WeightMatrix Matrix(string name)
        {
            CheckpointTensor tensor = checkpoint[name];
            int rows = (int)tensor.Shape[0], columns = (int)tensor.Shape[1];
            if (config.Quantization is { IsOurs: true } && FormatOf(tensor.DType) is not WeightFormat.Float and WeightFormat format)
            {
                return Codes(tensor, format, (int)_shapes.Value[name][0], (int)_shapes.Value[name][1]);
            }

            DType stored = tensor.DType is DType.Float8E4M3 or DType.Float8E5M2 ? DType.BFloat16 : tensor.DType;
            DType held = dtype ?? stored;
            if (!held.IsFloat() || held == DType.Float64 || !stored.IsFloat() || stored == DType.Float64)
            {
                throw new PrefixTorchException($"{name} is {tensor.DType.FileName()}, which no product reads; convert the checkpoint to BF16, F16 or F32.");
            }

            WeightMatrix matrix;
            if (held == tensor.DType && (nint)tensor.Pointer % held.Size() == 0)
            {
                (NativeBlock block, nint data) = Hold(tensor);
                matrix = new WeightMatrix(name, held, rows, columns, block, (byte*)data);
                _made.Add(matrix);
            }
            else
            {
                var block = NativeBlock.AllocateHuge((long)rows * columns * held.Size());
                matrix = new WeightMatrix(name, held, rows, columns, block, block.Pointer);
                _made.Add(matrix);
                Fill(tensor, stored, matrix);
            }

            return matrix;
        }

        // Codes stay as they are, whatever dtype is asked for: that is about floats.
        private WeightMatrix Codes(CheckpointTensor tensor, WeightFormat format, int rows, int columns)
        {
            CheckpointTensor scales = checkpoint[tensor.Name + Quantizer.ScaleSuffix];
            if (scales.DType != DType.Float32 || !scales.Entry.IsAligned)
            {
                throw new PrefixTorchException($"{scales.Name} is {scales.DType.FileName()} at byte {scales.Entry.Offset}, and {DType.Float32.FileName()}, aligned, is needed. Quantize the original checkpoint again.");
            }

            (NativeBlock block, nint data) = Hold(tensor);
            (NativeBlock scalesBlock, nint scalesData) = Hold(scales);
            var matrix = new WeightMatrix(tensor.Name, format, rows, columns, block, (byte*)data, scalesBlock, (float*)scalesData);
            _made.Add(matrix);
            return matrix;
        }

        public Vector Vector(params string[] names)
        {
            CheckpointTensor[] tensors = [.. names.Select(name => checkpoint[name])];
            var vector = new Vector(tensors.Sum(tensor => (int)tensor.Shape[0]));
            _made.Add(vector);
            float* to = vector.Data;
            foreach (CheckpointTensor tensor in tensors)
            {
                KernelSet.Current.Convert(tensor.DType, tensor.Pointer, DType.Float32, (byte*)to, tensor.Shape[0]);
                to += tensor.Shape[0];
            }

            return vector;
        }

        public void DisposeAll()
        {
            foreach (IDisposable made in _made)
            {
                made.Dispose();
            }
        }

        // Where a tensor's bytes are held: in the file's map, or in a copy. The caller takes over the hold.
        private (NativeBlock Block, nint Data) Hold(CheckpointTensor tensor)
        {
            if (!copy)
            {
                return (tensor.Block.Retain(), (nint)tensor.Pointer);
            }

            var block = NativeBlock.AllocateHuge(tensor.ByteCount);
            var job = new CopyJob(tensor.Pointer, block.Pointer, tensor.ByteCount);
            pool.Run(job.Blocks, ref job);
            MemoryPages.LetGo(tensor.Pointer, tensor.ByteCount);
            return (block, (nint)block.Pointer);
        }

        private void Fill(CheckpointTensor tensor, DType stored, WeightMatrix to)
        {
            if (tensor.DType == stored)
            {
                var job = new ConvertJob(tensor.Pointer, stored, to);
                pool.Run(to.Rows, ref job);
                return;
            }

            // 8-bit floats are widened with their scale, exactly as far as bf16 goes, then to what was asked for.
            Float8Scale? scale = config.Quantization is QuantizationConfig q
                ? Float8Scale.Find(checkpoint, tensor, q.WeightBlockRows, q.WeightBlockColumns)
                : Float8Scale.Find(checkpoint, tensor);
            var wide = NativeBlock.Allocate((long)to.Rows * to.Columns * sizeof(ushort));
            try
            {
                if (scale is null)
                {
                    Float8.Widen(tensor.DType, tensor.Pointer, (ushort*)wide.Pointer, (long)to.Rows * to.Columns);
                }
                else
                {
                    Float8.Widen(tensor.DType, tensor.Pointer, (ushort*)wide.Pointer, to.Rows, to.Columns, scale);
                }

                var job = new ConvertJob(wide.Pointer, stored, to);
                pool.Run(to.Rows, ref job);
            }
            finally
            {
                wide.Release();
            }
        }
    }

    private readonly struct CopyJob(byte* from, byte* to, long byteCount) : IBlockJob
    {
        public int Blocks => checked((int)((byteCount + MemoryPages.HugeByteCount - 1) / MemoryPages.HugeByteCount));

        // A huge page at a time, so that each is cleared and filled by one thread.
        public void Run(int block)
        {
            long first = (long)block * MemoryPages.HugeByteCount, count = Math.Min(byteCount - first, MemoryPages.HugeByteCount);
            Buffer.MemoryCopy(from + first, to + first, count, count);
        }
    }

    private readonly struct ConvertJob(byte* from, DType fromType, WeightMatrix to) : IBlockJob
    {
        public void Run(int row) =>
            KernelSet.Current.Convert(fromType, from + (long)row * to.Columns * fromType.Size(), to.DType, to.Data + (long)row * to.Columns * to.DType.Size(), to.Columns);
    }
}

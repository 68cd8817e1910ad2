using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using PrefixTorch.Model;
using PrefixTorch.Model.Operations;
using PrefixTorch.Tokenization;
using TorchSharp;

namespace PrefixTorch.Generation;

/// <summary>
/// A loaded Llama: reads prompts once, into caches that the caller holds, and continues from them as often as he likes.
/// </summary>
/// <remarks>
/// <para>Thread-safe. Calls from many threads run side by side, in shared steps of one engine thread.</para>
/// <para>
/// A call never changes a cache that was passed in: it works on a clone, made before it returns, so the caller may dispose his at once. What a
/// call returns the caller disposes; nothing else outlives the call, also when it is cancelled or throws. Caches may outlive the model; they
/// can then be read, cut, cloned and saved, and continued by another instance of the same model. A cache that a generation gave is one token ahead of its keys
/// and values, which take a model: save it, or read its tensors, before the model is disposed, or load the model again, whose <c>AppendAsync(cache, "")</c>
/// gives one that is complete.
/// </para>
/// </remarks>
public sealed partial class Llama : IKvCacheHost, IDisposable
{
    private readonly LlamaModel _model;
    private readonly KernelPool _pool;
    private readonly IDisposable _operations;
    private readonly Engine _engine;
    private readonly LlamaTokenizer? _tokenizer;
    private readonly torch.Device? _device;
    private readonly KvLayout _layout;
    private readonly Checkpoint _checkpoint;
    private int _disposed;

    private Llama(string folder, string name, LlamaOptions options, LlamaConfig config, GenerationConfig generationConfig, Task<LlamaTokenizer?> tokenizer, Checkpoint checkpoint)
    {
        Folder = Path.GetFullPath(folder);
        Name = name;
        Config = config;
        GenerationConfig = generationConfig;
        _checkpoint = checkpoint;
        _device = ParseDevice(options.Device);
        _pool = new KernelPool(options.Threads ?? Environment.ProcessorCount);
        try
        {
            options = options with { Load = ChooseLoad(options, checkpoint.TotalBytes, FreeMemory.Measure()) };
            _model = LlamaWeights.Load(checkpoint, config, options.DType, _pool, copy: options.Load == LoadMode.Copy);
        }
        catch
        {
            _pool.Dispose();
            throw;
        }

        DType held = _model.EmbedTokens.ComputeDType;
        DType kept = options.KvDType ?? held;
        _layout = new KvLayout(config.NumHiddenLayers, config.NumKeyValueHeads, config.HeadDim, kept);
        Options = options with { DType = held, KvDType = kept, Threads = _pool.Threads };

        RopeFrequencies rope = RopeFrequencies.Compute(config);
        var rotary = new RotaryEmbedding(rope.InverseFrequencies.ToArray(), rope.AttentionScaling);
        ForwardPass forward;
        if (_device is null)
        {
            DType rows = HostOperations.RowDType(_model.Matrices, KernelSet.Current);
            var operations = new HostOperations(config, rotary, _pool, KernelSet.Current, rows);
            IEnumerable<DType> factors = _model.Matrices.Select(matrix => matrix.Format == WeightFormat.Float ? rows : DType.Int8).Distinct().Order();
            ReadsAsItDecodes = !KernelSet.Current.HasAmx || _model.Matrices.All(matrix => matrix.Format != WeightFormat.Int4);
            Arithmetic = $"{string.Join(" and ", factors.Select(factor => factor.Name()))} products, {Cpu.Description}";
            forward = (step, logits, cancellation) => _model.Forward(operations, step, logits, null, cancellation);
            _operations = operations;
        }
        else
        {
            var operations = new TorchOperations(config, rotary, _device, held);
            ReadsAsItDecodes = true;
            Arithmetic = $"{held.Name()} on {_device}";
            forward = (step, logits, cancellation) => _model.Forward(operations, step, logits, null, cancellation);
            _operations = operations;
        }

        _engine = new Engine(forward, _pool, config.VocabSize, options.PrefillChunk);
        try
        {
            _tokenizer = tokenizer.GetAwaiter().GetResult();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The folder the model was loaded from.</summary>
    public string Folder { get; }

    /// <summary>The folder's name; of a pulled model, the repository's.</summary>
    public string Name { get; }

    /// <summary>The resolved <c>config.json</c>.</summary>
    public LlamaConfig Config { get; }

    /// <summary>The <c>generation_config.json</c>.</summary>
    public GenerationConfig GenerationConfig { get; }

    /// <summary>The options, with what was chosen filled in.</summary>
    public LlamaOptions Options { get; }

    /// <summary>What the arithmetic runs in, for people.</summary>
    public string Arithmetic { get; }

    /// <summary>
    /// Whether tokens that are read together go through the same arithmetic as one by one, on a CPU with the same bits. Not so for int4 where the processor has AMX: more than sixteen at a time are read
    /// with weights widened to bf16.
    /// </summary>
    public bool ReadsAsItDecodes { get; }

    /// <summary>Whether the model came with a tokenizer.</summary>
    public bool HasTokenizer => _tokenizer is not null;

    /// <summary>The tokenizer.</summary>
    /// <exception cref="PrefixTorchException">The model came without one.</exception>
    public LlamaTokenizer Tokenizer => _tokenizer
        ?? throw new PrefixTorchException($"{Folder} has no tokenizer.json or tokenizer.model, so text cannot become ids; add the file, or give ids.");

    /// <summary>Bytes of the weights as they are held.</summary>
    public long WeightBytes => _model.Matrices.Sum(matrix => matrix.ByteCount);

    /// <summary>Bytes of weights that computing one token reads: all, but of the embedding a row, unless it is the head as well.</summary>
    public long WeightBytesPerToken => _model.Matrices.Where(matrix => matrix != _model.EmbedTokens || _model.Head.Parts.Contains(matrix)).Sum(matrix => matrix.ByteCount);

    /// <summary>Parameters of the model, norms and biases too; an embedding that is the head as well counts once.</summary>
    public long ParameterCount => LlamaWeights.Expected(Config).Where(weight => !weight.Optional).Sum(weight => TensorShape.Count(weight.Shape));

    /// <summary>The shape and type of a token's keys and values.</summary>
    public KvLayout Layout => _layout;

    KvLayout IKvCacheHost.Layout => _layout;

    bool IKvCacheHost.IsOnHost => _device is null;

    int IKvCacheHost.VocabSize => Config.VocabSize;

    int IKvCacheHost.MaxPositionEmbeddings => Config.MaxPositionEmbeddings;

    IReadOnlyList<string> IKvCacheHost.StatePath => Options.StatePath;

    string? IKvCacheHost.Decode(int[] ids) => _tokenizer?.Decode(ids);

    /// <summary>Ends the engine and frees the weights. Calls under way fail; caches live on.</summary>
    /// <remarks>
    /// May be called from any callback. In a processor of logits it returns at once, and the weights are freed when the step that waits for it has ended.
    /// What caches that live on can be used for is in the remarks on <see cref="Llama"/>.
    /// </remarks>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        _engine.Stop();
        if (_engine.IsWaitingForCaller)
        {
            Task.Run(Free);
        }
        else
        {
            Free();
        }
    }

    private void Free()
    {
        _engine.Dispose();
        try
        {
            KeepFingerprint();
        }
        finally
        {
            _operations.Dispose();
            _model.Dispose();
            _checkpoint.Dispose();
            _pool.Dispose();
        }
    }

    private static torch.Device? ParseDevice(string name)
    {
        if (name == "cpu")
        {
            return null;
        }

        string[] parts = name.Split(':');
        if (parts[0] != "cuda" || parts.Length > 2 || (parts.Length == 2 && !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out _)))
        {
            throw new PrefixTorchException($"There is no device '{name}'; name cpu, cuda or cuda:n.");
        }

        LibTorch.EnsureLoaded();
        if (!torch.cuda.is_available())
        {
            throw new PrefixTorchException($"Device '{name}' was asked for, and libtorch finds no CUDA here: build with -p:TorchBackend=cuda on a machine that has a GPU, or use cpu.");
        }

        int index = parts.Length == 2 ? int.Parse(parts[1], CultureInfo.InvariantCulture) : 0;
        return index < torch.cuda.device_count()
            ? new torch.Device(DeviceType.CUDA, index)
            : throw new PrefixTorchException($"Device '{name}' was asked for, and there are {torch.cuda.device_count()} (from cuda:0).");
    }
}

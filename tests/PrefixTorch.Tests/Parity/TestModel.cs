using PrefixTorch.Caching;
using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;
using PrefixTorch.Model;
using PrefixTorch.Model.Operations;
using TorchSharp;

namespace PrefixTorch.Tests.Parity;

/// <summary>A model without engine and text: weights, operations and the forward pass, for tests that look inside.</summary>
internal sealed class TestModel : IKvCacheHost, IDisposable
{
    private readonly KernelPool _pool = new(2);
    private readonly Func<Step, Action<int, float[]>?, float[]> _forward;
    private readonly IDisposable _ops;
    private readonly bool _onDevice;

    /// <summary>Loads a folder.</summary>
    /// <param name="folder">The checkpoint.</param>
    /// <param name="path">"torch", or the name of an instruction set.</param>
    /// <param name="dtype">Weights; null: as stored.</param>
    /// <param name="kvDType">Keys and values; null: as the weights.</param>
    /// <param name="onDevice">Whether libtorch owns the caches, as on a GPU; of "torch" only.</param>
    public TestModel(string folder, string path, DType? dtype = null, DType? kvDType = null, bool onDevice = false)
    {
        _onDevice = onDevice;
        LibTorch.EnsureLoaded();
        Config = LlamaConfig.Load(folder);
        try
        {
            using var checkpoint = Checkpoint.Open(folder);
            Model = LlamaWeights.Load(checkpoint, Config, dtype, _pool);
        }
        catch
        {
            _pool.Dispose();
            throw;
        }

        RopeFrequencies rope = RopeFrequencies.Compute(Config);
        var rotary = new RotaryEmbedding(rope.InverseFrequencies.ToArray(), rope.AttentionScaling);
        DType held = Model.EmbedTokens.ComputeDType;
        Layout = new KvLayout(Config.NumHiddenLayers, Config.NumKeyValueHeads, Config.HeadDim, kvDType ?? held);
        if (path == "torch")
        {
            var ops = new TorchOperations(Config, rotary, torch.CPU, held);
            _ops = ops;
            _forward = (step, observe) => Model.Forward(ops, step, observe);
        }
        else
        {
            KernelSet kernels = KernelSet.For(Enum.Parse<Isa>(path, ignoreCase: true));
            var ops = new HostOperations(Config, rotary, _pool, kernels, HostOperations.RowDType(Model.Matrices, kernels));
            _ops = ops;
            _forward = (step, observe) => Model.Forward(ops, step, observe);
        }
    }

    /// <summary>Every path that this machine can run.</summary>
    public static IEnumerable<string> Paths => ["torch", .. Cpu.Available.Select(isa => isa.ToString().ToLowerInvariant())];

    public LlamaConfig Config { get; }

    public LlamaModel Model { get; }

    public KvLayout Layout { get; }

    KvIdentity IKvCacheHost.Identity { get; } = new("test", "", "", "");

    bool IKvCacheHost.IsOnHost => !_onDevice;

    int IKvCacheHost.VocabSize => Config.VocabSize;

    int IKvCacheHost.MaxPositionEmbeddings => Config.MaxPositionEmbeddings;

    IReadOnlyList<string> IKvCacheHost.StatePath => [];

    string? IKvCacheHost.Decode(int[] ids) => null;

    KvBuffer IKvCacheHost.Allocate(int capacity, bool fills) => _onDevice ? new TorchKvBuffer(Layout, capacity, torch.CPU) : new HostKvBuffer(Layout, capacity, fills);

    void IKvCacheHost.Evaluate(KvCache cache) => Append(cache, [.. cache.Pending.Select(pending => pending.Id)]);

    /// <summary>Appends ids to one cache and gives the logits of all of them, <c>[T, V]</c>.</summary>
    public float[] Append(KvCache cache, int[] ids, bool allLogits = false, Action<int, float[]>? observe = null) =>
        Append([(cache, ids)], allLogits, observe);

    /// <summary>Appends to several caches in one step.</summary>
    public float[] Append((KvCache Cache, int[] Ids)[] sequences, bool allLogits = false, Action<int, float[]>? observe = null)
    {
        List<KvAppend> appends = [];
        try
        {
            List<int> ids = [], last = [];
            foreach ((KvCache cache, int[] added) in sequences)
            {
                appends.Add(cache.BeginAppend(added, new TokenOrigin[added.Length]));
                ids.AddRange(added);
                last.Add(ids.Count - 1);
            }

            int[] rows = allLogits ? [.. Enumerable.Range(0, ids.Count)] : [.. last];
            float[] logits = _forward(new Step(appends, [.. ids], rows), observe);
            int vocabulary = Config.VocabSize;
            for (int i = 0; i < appends.Count; i++)
            {
                int row = Array.IndexOf(rows, last[i]);
                appends[i].Commit(logits[(row * vocabulary)..((row + 1) * vocabulary)]);
            }

            return logits;
        }
        finally
        {
            appends.ForEach(append => append.Dispose());
        }
    }

    public void Dispose()
    {
        _ops.Dispose();
        Model.Dispose();
        _pool.Dispose();
    }
}

using PrefixTorch.Configuration;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Bench;

/// <summary>What a model has to do, counted: so that times can be compared with what a machine could do.</summary>
internal sealed class Work(Llama llama)
{
    // Any prompt takes the same time; this one is the same in every run.
    private readonly Random _random = new(12345);

    /// <summary>Multiplications and additions to read a prompt from nothing: the layers for every token, the causal half of attention, the head once.</summary>
    public double PrefillFlops(int tokens)
    {
        LlamaConfig config = llama.Config;
        double query = (double)config.NumAttentionHeads * config.HeadDim, keyValue = (double)config.NumKeyValueHeads * config.HeadDim;
        double layer = config.HiddenSize * (2 * query + 2 * keyValue) + 3.0 * config.HiddenSize * config.IntermediateSize;
        double attention = query * tokens * (tokens + 1.0);
        return 2 * config.NumHiddenLayers * (layer * tokens + attention) + 2.0 * config.HiddenSize * config.VocabSize;
    }

    /// <summary>Bytes that decoding a token behind so many others reads: weights, keys and values.</summary>
    public double DecodeBytes(double context) => llama.WeightBytesPerToken + context * llama.Layout.BytesPerToken;

    /// <summary>Bytes a second of a plain read by the model's threads, from pages of the size that its weights lie in.</summary>
    public double ReadBandwidth() => Machine.MeasureReadBandwidth(llama.Options.Threads, huge: llama.Options.Load == LoadMode.Copy);

    /// <summary>Ids of a text that nobody wrote.</summary>
    public int[] RandomIds(int count) => [.. Enumerable.Range(0, count).Select(_ => _random.Next(llama.Config.VocabSize))];
}

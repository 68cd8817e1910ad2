using PrefixTorch.Configuration;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Bench;

/// <summary>What a model has to do, counted: so that times can be compared with what a machine could do.</summary>
internal sealed class Work(Llama llama)
{
    // Any prompt takes the same time; this one is the same in every run.
    private readonly Random _random = new(12345);

    /// <summary>
    /// Multiplications and additions to read a prompt from nothing: the layers for every token, but for what follows the last one's keys and values and is
    /// wanted of one token alone; the causal half of attention; the head once.
    /// </summary>
    public double PrefillFlops(int tokens)
    {
        LlamaConfig config = llama.Config;
        double query = (double)config.NumAttentionHeads * config.HeadDim, keyValue = (double)config.NumKeyValueHeads * config.HeadDim;
        double before = config.HiddenSize * (query + 2 * keyValue), behind = config.HiddenSize * (query + 3.0 * config.IntermediateSize);
        double attention = query * tokens * (tokens + 1.0), layers = config.NumHiddenLayers;
        return 2 * (layers * (before * tokens + attention) + (layers - 1) * behind * tokens + behind + (double)config.HiddenSize * config.VocabSize);
    }

    /// <summary>Bytes that decoding a token behind so many others reads: weights, keys and values.</summary>
    public double DecodeBytes(double context) => llama.WeightBytesPerToken + context * llama.Layout.BytesPerToken;

    /// <summary>Bytes a second of a plain read by the model's threads, from pages of the size that its weights lie in.</summary>
    public double ReadBandwidth() => Machine.MeasureReadBandwidth(llama.Options.Threads, huge: llama.Options.Load == LoadMode.Copy);

    /// <summary>Ids of a text that nobody wrote.</summary>
    public int[] RandomIds(int count) => [.. Enumerable.Range(0, count).Select(_ => _random.Next(llama.Config.VocabSize))];
}

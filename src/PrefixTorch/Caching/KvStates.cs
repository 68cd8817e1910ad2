using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>What can be done with state files without the model that made them.</summary>
/// <remarks>Thread-safe. Parents of deltas are looked for beside the file, then in the folders given. Every output is written whole or not at all, and may be the input's own name; files that continue
/// the input then miss the parent that it was.</remarks>
public static class KvStates
{
    /// <summary>The token ids of a state, its parents' included.</summary>
    /// <exception cref="KvStateException">A file is damaged, or a parent missing or changed.</exception>
    public static int[] ReadTokens(string path, IReadOnlyList<string>? statePath = null)
    {
        using var chain = KvStateChain.Open(path, statePath ?? []);
        return Tokens(chain);
    }

    /// <summary>The text of a state, its parents' included; null where a file has none. Characters that a border cuts come out as replacement characters.</summary>
    /// <exception cref="KvStateException">A file is damaged, or a parent missing or changed.</exception>
    public static string? ReadText(string path, IReadOnlyList<string>? statePath = null)
    {
        using var chain = KvStateChain.Open(path, statePath ?? []);
        return Text(chain);
    }

    /// <summary>The files that a state lies in: its own, then those that it continues, without which it cannot be read.</summary>
    /// <exception cref="KvStateException">A file is damaged, or a parent missing or changed.</exception>
    public static IReadOnlyList<string> Files(string path, IReadOnlyList<string>? statePath = null)
    {
        using var chain = KvStateChain.Open(path, statePath ?? []);
        return [.. chain.Parts.Select(part => Path.GetFullPath(part.Path))];
    }

    /// <summary>Makes one file of a state and those that it continues; restored bit for bit like the chain.</summary>
    /// <param name="path">The state.</param>
    /// <param name="output">The file to write.</param>
    /// <param name="statePath">Where parents are looked for.</param>
    /// <exception cref="KvStateException">A file is damaged, or a parent missing or changed.</exception>
    public static void Compact(string path, string output, IReadOnlyList<string>? statePath = null) => Rewrite(path, output, KvQuantization.None, statePath);

    /// <summary>Makes a file of 8 bits of a state and those that it continues: about half the bytes.</summary>
    /// <returns>The error: root mean square, relative to that of the numbers; 0 where the state was of 8 bits already.</returns>
    /// <inheritdoc cref="Compact"/>
    public static double Quantize(string path, string output, IReadOnlyList<string>? statePath = null)
    {
        Rewrite(path, output, KvQuantization.Int8, statePath);
        return KvStateInfo.Read(output).QuantizationError ?? 0;
    }

    /// <summary>
    /// Writes a state as plain tensors, for Hugging Face's <c>DynamicCache</c>: <c>key_cache.i</c> and <c>value_cache.i</c> <c>[1, KV, S, D]</c>,
    /// <c>input_ids</c> <c>[1, S]</c> and, where known, <c>logits</c> <c>[V]</c>. A state of 8 bits is widened to fp32.
    /// </summary>
    /// <inheritdoc cref="Compact"/>
    public static void Export(string path, string output, IReadOnlyList<string>? statePath = null)
    {
        using var chain = KvStateChain.Open(path, statePath ?? []);
        using KvCache cache = Load(chain, path, statePath);
        KvSegment[] segments = cache.Segments;
        long[] shape = [1, cache.Layout.KeyValueHeads, cache.Length, cache.Layout.HeadDim];
        List<TensorToWrite> tensors = [new("input_ids", DType.Int64, [1, cache.Length], Bytes(Array.ConvertAll(cache.Tokens, id => (long)id)))];
        if (cache.Logits is float[] logits)
        {
            tensors.Add(new("logits", DType.Float32, [logits.Length], Bytes(logits)));
        }

        for (int i = 0; i < cache.Layout.Layers; i++)
        {
            int layer = i;
            tensors.Add(new($"key_cache.{i}", cache.Layout.NumberType, shape, writer => Write(writer, layer, keys: true)));
            tensors.Add(new($"value_cache.{i}", cache.Layout.NumberType, shape, writer => Write(writer, layer, keys: false)));
        }

        SafetensorsWriter.Write(output, tensors, new Dictionary<string, string> { ["format"] = "pt", ["model"] = chain.Last.Header.Identity.Model });

        void Write(PayloadWriter writer, int layer, bool keys)
        {
            if (cache.Layout.HasScales)
            {
                writer.Write(Bytes(KvRows.Floats(segments, layer, cache.Layout, keys)));
            }
            else
            {
                KvRows.Write(writer, segments, layer, cache.Layout, keys);
            }
        }

        static byte[] Bytes<T>(T[] array)
            where T : unmanaged => System.Runtime.InteropServices.MemoryMarshal.AsBytes<T>(array).ToArray();
    }

    /// <summary>How two states differ.</summary>
    /// <exception cref="KvStateException">A file is damaged, or a parent missing or changed.</exception>
    public static KvStateDiff Diff(string a, string b, IReadOnlyList<string>? statePath = null)
    {
        using KvStateChain left = KvStateChain.Open(a, statePath ?? []), right = KvStateChain.Open(b, statePath ?? []);
        int[] x = Tokens(left), y = Tokens(right);
        int common = x.AsSpan().CommonPrefixLength(y);
        KvStateHeader one = left.Last.Header, other = right.Last.Header;
        List<(string What, string A, string B)> differences = [];
        Compare("weights", one.Identity.Weights, other.Identity.Weights);
        Compare("rope", one.Identity.Rope, other.Identity.Rope);
        Compare("tokenizer", one.Identity.Tokenizer, other.Identity.Tokenizer);
        Compare("num_hidden_layers", one.Layout.Layers, other.Layout.Layers);
        Compare("num_key_value_heads", one.Layout.KeyValueHeads, other.Layout.KeyValueHeads);
        Compare("head_dim", one.Layout.HeadDim, other.Layout.HeadDim);
        Compare("kv_dtype", one.Layout.DType.Name(), other.Layout.DType.Name());
        Compare("quantization", one.Quantization, other.Quantization);
        double? distance = null;
        if (one.Layout with { DType = DType.Float32 } == other.Layout with { DType = DType.Float32 })
        {
            using KvCache first = Load(left, a, statePath), second = Load(right, b, statePath);
            distance = Distance(first, second, common);
        }

        return new KvStateDiff(x.Length, y.Length, common, common < x.Length ? x[common] : null, common < y.Length ? y[common] : null, differences, distance);

        void Compare(string what, object theirs, object mine)
        {
            if (!theirs.Equals(mine))
            {
                differences.Add((what, theirs.ToString()!, mine.ToString()!));
            }
        }
    }

    private static void Rewrite(string path, string output, KvQuantization quantization, IReadOnlyList<string>? statePath)
    {
        using var chain = KvStateChain.Open(path, statePath ?? []);
        using KvCache cache = Load(chain, path, statePath);
        cache.Save(output, new KvSaveOptions { Quantization = quantization, Facts = chain.Last.Header.Facts });
    }

    private static KvCache Load(KvStateChain chain, string path, IReadOnlyList<string>? statePath) =>
        KvCache.Load(path, new KvStateHost(chain.Last, Text(chain), statePath ?? []), new KvLoadOptions { Convert = true });

    private static int[] Tokens(KvStateChain chain) => [.. Pieces(chain).SelectMany(piece => piece.Part.ReadIds().Take(piece.Count))];

    private static string? Text(KvStateChain chain)
    {
        // A file's text can be given as a whole only: a delta that cuts its parent short leaves nothing to say.
        (KvStatePart Part, int Count)[] pieces = [.. Pieces(chain)];
        return pieces.All(piece => piece.Part.Text is not null && piece.Count == piece.Part.Header.OwnLength)
            ? string.Concat(pieces.Select(piece => piece.Part.ReadText()))
            : null;
    }

    // From the whole file on, how many of each file's own tokens are in the sequence.
    private static Stack<(KvStatePart Part, int Count)> Pieces(KvStateChain chain)
    {
        Stack<(KvStatePart Part, int Count)> pieces = [];
        int end = chain.Last.Header.Length;
        foreach (KvStatePart part in chain.Parts)
        {
            int start = part.Header.Length - part.Header.OwnLength;
            if (end > start)
            {
                pieces.Push((part, end - start));
            }

            end = Math.Min(end, start);
        }

        return pieces;
    }

    private static double Distance(KvCache a, KvCache b, int length)
    {
        double largest = 0;
        for (int layer = 0; layer < a.Layout.Layers && length > 0; layer++)
        {
            foreach (bool keys in (ReadOnlySpan<bool>)[true, false])
            {
                float[] x = KvRows.Floats(a.Segments, layer, a.Layout, keys), y = KvRows.Floats(b.Segments, layer, b.Layout, keys);
                int width = a.Layout.HeadDim;
                for (int head = 0; head < a.Layout.KeyValueHeads; head++)
                {
                    ReadOnlySpan<float> left = x.AsSpan(head * a.Length * width, length * width), right = y.AsSpan(head * b.Length * width, length * width);
                    for (int i = 0; i < left.Length; i++)
                    {
                        largest = Math.Max(largest, Math.Abs(left[i] - right[i]));
                    }
                }
            }
        }

        return largest;
    }
}

/// <summary>How two states differ.</summary>
/// <param name="LengthA">Tokens of the first.</param>
/// <param name="LengthB">Tokens of the second.</param>
/// <param name="CommonTokens">How many they begin with in common.</param>
/// <param name="NextA">The first token of the first that is not common; null where it ends there.</param>
/// <param name="NextB">Likewise of the second.</param>
/// <param name="Differences">What else differs of what must match: the name and both values.</param>
/// <param name="LargestDistance">The largest distance between the keys and values of the common tokens; null where their shapes differ.</param>
public sealed record KvStateDiff(int LengthA, int LengthB, int CommonTokens, int? NextA, int? NextB, IReadOnlyList<(string What, string A, string B)> Differences, double? LargestDistance);

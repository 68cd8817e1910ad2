#:property PublishAot=false
#:property Optimize=true

// Makes a checkpoint of random weights in the published layout, of any Llama's shape, so that loading, memory and speed can be tried
// at full size without anybody's weights. It shares no code with the library: what the library reads of it, it reads as a stranger's.
//
//     dotnet run tools/make-checkpoint.cs -- --preset llama-3.2-1b --out weights/random-1b
//     dotnet run tools/make-checkpoint.cs -- --preset tiny --out DIR --num-hidden-layers 6 --shards 2 --dtype float32

using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Win32.SafeHandles;

try
{
    if (args.Length == 0 || args.Contains("--help") || args.Contains("-h"))
    {
        Console.WriteLine(Options.Help);
        return 0;
    }

    var options = Options.Parse(args);
    var watch = Stopwatch.StartNew();
    long bytes = Maker.Make(options);
    double seconds = watch.Elapsed.TotalSeconds;
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{options.Out}: {bytes} bytes in {seconds:F1} s, {bytes / seconds / 1e9:F2} GB/s"));
    return 0;
}
catch (ArgumentException error)
{
    Console.Error.WriteLine($"make-checkpoint: {error.Message} See --help.");
    return 2;
}
catch (Exception error) when (error is IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine($"make-checkpoint: {error.Message}");
    return 1;
}

/// <summary>The command line: a preset, and what is to be changed of it.</summary>
internal sealed class Options
{
    public const string Help = """
        Makes a Llama checkpoint of random weights in the published layout.

          --preset NAME     llama-3.1-8b, llama-3.2-3b, llama-3.2-1b or tiny (default tiny)
          --out DIR         where to; must not hold a checkpoint already, unless --force
          --shards N        files of weights (default as published: 4 for 8b, 2 for 3b, otherwise 1)
          --dtype T         bfloat16 (default), float16 or float32
          --seed N          other weights (default 0)
          --tokenizer DIR   copies the tokenizer's files from there; give --vocab-size to match
          --force           replaces a checkpoint that is there

        Of the preset may be changed: --hidden-size, --intermediate-size, --num-hidden-layers, --num-attention-heads, --num-key-value-heads,
        --head-dim, --vocab-size, --max-position-embeddings, --rms-norm-eps, --rope-parameters JSON, --tie-word-embeddings true|false,
        --attention-bias true|false, --mlp-bias true|false, --bos-token-id N, --eos-token-id N or [N,N].

        Example: dotnet run tools/make-checkpoint.cs -- --preset llama-3.2-1b --out weights/random-1b --tokenizer weights/tiny-tolstoy --vocab-size 4096
        """;

    private static readonly string[] s_dtypes = ["bfloat16", "float16", "float32"];

    public required string Out { get; init; }

    public required int Shards { get; init; }

    public required string DType { get; init; }

    public required ulong Seed { get; init; }

    public required string? Tokenizer { get; init; }

    /// <summary>config.json as it will be written; the weights' shapes are read from it.</summary>
    public required JsonObject Config { get; init; }

    public int ElementSize => DType == "float32" ? 4 : 2;

    public static Options Parse(string[] args)
    {
        var given = new Dictionary<string, string>(StringComparer.Ordinal);
        for (int i = 0; i < args.Length; i++)
        {
            string name = args[i].StartsWith("--", StringComparison.Ordinal) ? args[i][2..] : throw new ArgumentException($"'{args[i]}' is not an option.");
            given[name] = name == "force" ? "true" : ++i < args.Length ? args[i] : throw new ArgumentException($"--{name} needs a value.");
        }

        string Take(string name, string otherwise) => given.Remove(name, out string? value) ? value : otherwise;
        string preset = Take("preset", "tiny");
        string output = Take("out", "") is { Length: > 0 } folder ? folder : throw new ArgumentException("--out is not given.");
        string dtype = Take("dtype", "bfloat16");
        (JsonObject config, int shards) = Presets.Find(preset);
        shards = Integer("shards", Take("shards", shards.ToString(CultureInfo.InvariantCulture)));
        ulong seed = (ulong)Integer("seed", Take("seed", "0"), least: 0);
        string? tokenizer = Take("tokenizer", "") is { Length: > 0 } source ? source : null;
        bool force = given.Remove("force");
        if (!s_dtypes.Contains(dtype))
        {
            throw new ArgumentException($"--dtype is {dtype}, not {string.Join(", ", s_dtypes)}.");
        }

        if (!force && Directory.Exists(output) && Directory.EnumerateFiles(output, "*.safetensors").Any())
        {
            throw new ArgumentException($"{output} holds a checkpoint already; --force replaces it.");
        }

        config["dtype"] = dtype;
        foreach ((string name, string value) in given)
        {
            Change(config, name, value);
        }

        return new Options { Out = output, Shards = shards, DType = dtype, Seed = seed, Tokenizer = tokenizer, Config = config };
    }

    private static void Change(JsonObject config, string name, string value)
    {
        string key = name.Replace('-', '_');
        if (!config.ContainsKey(key))
        {
            throw new ArgumentException($"--{name} is not an option.");
        }

        try
        {
            JsonNode? node = JsonNode.Parse(value);
            config[key] = key is "rope_parameters" or "eos_token_id" || Kind(node) == Kind(config[key])
                ? node
                : throw new ArgumentException($"--{name} is {value}, which is of another kind than {config[key]?.ToJsonString()}.");
        }
        catch (JsonException)
        {
            throw new ArgumentException($"--{name} is {value}, which is neither a number nor true or false, nor other JSON.");
        }
    }

    private static JsonValueKind? Kind(JsonNode? node) => node?.GetValueKind() is JsonValueKind.False ? JsonValueKind.True : node?.GetValueKind();

    private static int Integer(string name, string text, int least = 1) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= least
            ? value
            : throw new ArgumentException($"--{name} is {text}, not a whole number of at least {least}.");
}

/// <summary>The shapes of published models.</summary>
internal static class Presets
{
    public static (JsonObject Config, int Shards) Find(string name) => name switch
    {
        "llama-3.1-8b" => (Llama3(4096, 14_336, 32, 32, 128, factor: 8, tied: false), 4),
        "llama-3.2-3b" => (Llama3(3072, 8192, 28, 24, 128, factor: 32, tied: true), 2),
        "llama-3.2-1b" => (Llama3(2048, 8192, 16, 32, 64, factor: 32, tied: true), 1),
        "tiny" => (Config(64, 160, 3, 8, 2, 8, 320, 512, 8, 64, tied: false, 1, "2"), 1),
        _ => throw new ArgumentException($"--preset is {name}, not llama-3.1-8b, llama-3.2-3b, llama-3.2-1b or tiny."),
    };

    private static JsonObject Llama3(int hidden, int intermediate, int layers, int heads, int headDim, int factor, bool tied) =>
        Config(hidden, intermediate, layers, heads, 8, headDim, 128_256, 131_072, factor, 8192, tied, 128_000, "[128001, 128008, 128009]");

    // As text, so that a number is written as it is published: 8.0 and not 8.
    private static JsonObject Config(int hidden, int intermediate, int layers, int heads, int keyValueHeads, int headDim, int vocab, int positions, int factor, int original, bool tied, int bos, string eos) =>
        JsonNode.Parse($$"""
            {
              "architectures": ["LlamaForCausalLM"],
              "attention_bias": false,
              "attention_dropout": 0.0,
              "bos_token_id": {{bos}},
              "dtype": "bfloat16",
              "eos_token_id": {{eos}},
              "head_dim": {{headDim}},
              "hidden_act": "silu",
              "hidden_size": {{hidden}},
              "initializer_range": 0.02,
              "intermediate_size": {{intermediate}},
              "max_position_embeddings": {{positions}},
              "mlp_bias": false,
              "model_type": "llama",
              "num_attention_heads": {{heads}},
              "num_hidden_layers": {{layers}},
              "num_key_value_heads": {{keyValueHeads}},
              "rms_norm_eps": 1e-05,
              "rope_parameters": {
                "factor": {{factor}}.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": {{original}},
                "rope_theta": 500000.0,
                "rope_type": "llama3"
              },
              "tie_word_embeddings": {{(tied ? "true" : "false")}},
              "use_cache": true,
              "vocab_size": {{vocab}}
            }
            """)!.AsObject();
}

/// <summary>A tensor to be made: normal numbers around a mean.</summary>
internal sealed record Weight(string Name, long[] Shape, float Mean)
{
    public long ElementCount => Shape.Aggregate(1L, (product, dimension) => checked(product * dimension));
}

/// <summary>Plans the tensors, deals them out to shards and writes the folder.</summary>
internal static class Maker
{
    private static readonly string[] s_tokenizerFiles =
        ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "added_tokens.json", "chat_template.jinja"];

    /// <summary>Makes the checkpoint; gives the bytes of its weights.</summary>
    public static long Make(Options options)
    {
        Weight[] weights = [.. Weights(options.Config)];
        Directory.CreateDirectory(options.Out);
        foreach (string old in Directory.EnumerateFiles(options.Out, "*.safetensors*").ToArray())
        {
            File.Delete(old);
        }

        Weight[][] shards = Deal(weights, options.Shards);
        var weightMap = new SortedDictionary<string, string>(StringComparer.Ordinal);
        for (int i = 0; i < shards.Length; i++)
        {
            string file = shards.Length == 1 ? "model.safetensors" : $"model-{i + 1:D5}-of-{shards.Length:D5}.safetensors";
            Console.Error.WriteLine($"{file}: {shards[i].Length} tensors");
            ShardWriter.Write(Path.Combine(options.Out, file), shards[i], options);
            foreach (Weight weight in shards[i])
            {
                weightMap.Add(weight.Name, file);
            }
        }

        // Last, so that a folder that was left half made is seen to be.
        long parameters = weights.Sum(weight => weight.ElementCount);
        if (shards.Length > 1)
        {
            WriteJson(options, "model.safetensors.index.json", new JsonObject
            {
                ["metadata"] = new JsonObject { ["total_parameters"] = parameters, ["total_size"] = parameters * options.ElementSize },
                ["weight_map"] = new JsonObject(weightMap.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value))),
            });
        }

        CopyTokenizer(options);
        WriteJson(options, "generation_config.json", new JsonObject
        {
            ["bos_token_id"] = options.Config["bos_token_id"]?.DeepClone(),
            ["do_sample"] = true,
            ["eos_token_id"] = options.Config["eos_token_id"]?.DeepClone(),
            ["temperature"] = 0.6,
            ["top_p"] = 0.9,
        });
        WriteJson(options, "config.json", options.Config);
        return parameters * options.ElementSize;
    }

    // In the model's order, so that a shard holds whole layers.
    private static IEnumerable<Weight> Weights(JsonObject config)
    {
        long hidden = Positive("hidden_size"), intermediate = Positive("intermediate_size"), vocab = Positive("vocab_size");
        long queries = Positive("num_attention_heads") * Positive("head_dim"), keys = Positive("num_key_value_heads") * Positive("head_dim");
        bool attentionBias = (bool)config["attention_bias"]!, mlpBias = (bool)config["mlp_bias"]!;

        long Positive(string key) => config[key]!.AsValue().TryGetValue(out int value) && value > 0
            ? value
            : throw new ArgumentException($"{key} is {config[key]}, not a positive whole number.");

        IEnumerable<Weight> Linear(string name, long rows, long columns, bool bias)
        {
            yield return new Weight($"{name}.weight", [rows, columns], 0);
            if (bias)
            {
                yield return new Weight($"{name}.bias", [rows], 0);
            }
        }

        yield return new Weight("model.embed_tokens.weight", [vocab, hidden], 0);
        for (int i = 0; i < Positive("num_hidden_layers"); i++)
        {
            string layer = $"model.layers.{i}";
            Weight[] tensors =
            [
                new($"{layer}.input_layernorm.weight", [hidden], 1),
                .. Linear($"{layer}.self_attn.q_proj", queries, hidden, attentionBias),
                .. Linear($"{layer}.self_attn.k_proj", keys, hidden, attentionBias),
                .. Linear($"{layer}.self_attn.v_proj", keys, hidden, attentionBias),
                .. Linear($"{layer}.self_attn.o_proj", hidden, queries, attentionBias),
                new($"{layer}.post_attention_layernorm.weight", [hidden], 1),
                .. Linear($"{layer}.mlp.gate_proj", intermediate, hidden, mlpBias),
                .. Linear($"{layer}.mlp.up_proj", intermediate, hidden, mlpBias),
                .. Linear($"{layer}.mlp.down_proj", hidden, intermediate, mlpBias),
            ];
            foreach (Weight weight in tensors)
            {
                yield return weight;
            }
        }

        yield return new Weight("model.norm.weight", [hidden], 1);
        if (!(bool)config["tie_word_embeddings"]!)
        {
            yield return new Weight("lm_head.weight", [vocab, hidden], 0);
        }
    }

    // Shards of about equal size, each with one tensor at least.
    private static Weight[][] Deal(Weight[] weights, int count)
    {
        if (count > weights.Length)
        {
            throw new ArgumentException($"--shards is {count}, but there are only {weights.Length} tensors.");
        }

        double total = weights.Sum(weight => (double)weight.ElementCount);
        var shards = new List<Weight>[count];
        int next = 0;
        double dealt = 0;
        for (int i = 0; i < count; i++)
        {
            shards[i] = [];
            int reserved = count - i - 1;
            while (next < weights.Length - reserved && (shards[i].Count == 0 || i == count - 1 || dealt + (weights[next].ElementCount / 2.0) < total * (i + 1) / count))
            {
                dealt += weights[next].ElementCount;
                shards[i].Add(weights[next++]);
            }
        }

        return [.. shards.Select(shard => shard.ToArray())];
    }

    private static void CopyTokenizer(Options options)
    {
        if (options.Tokenizer is null)
        {
            return;
        }

        string[] files = [.. s_tokenizerFiles.Where(file => File.Exists(Path.Combine(options.Tokenizer, file)))];
        if (files.Length == 0)
        {
            throw new IOException($"{options.Tokenizer} holds none of {string.Join(", ", s_tokenizerFiles)}.");
        }

        foreach (string file in files)
        {
            File.Copy(Path.Combine(options.Tokenizer, file), Path.Combine(options.Out, file), overwrite: true);
        }
    }

    private static void WriteJson(Options options, string file, JsonObject json) =>
        File.WriteAllText(Path.Combine(options.Out, file), json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
}

/// <summary>Writes one safetensors file. Every element follows from seed, tensor and position alone, so threads take any part of it.</summary>
internal static class ShardWriter
{
    private const int ElementsPerBlock = 1 << 20;

    public static void Write(string path, Weight[] weights, Options options)
    {
        byte[] header = Header(weights, options);
        long size = header.Length + (weights.Sum(weight => weight.ElementCount) * options.ElementSize);
        using SafeFileHandle file = File.OpenHandle(path, FileMode.Create, FileAccess.Write, FileShare.None, FileOptions.None, size);
        RandomAccess.Write(file, header, 0);
        Parallel.ForEach(Blocks(weights, header.Length, options.ElementSize), () => new byte[ElementsPerBlock * 4], (block, _, buffer) =>
        {
            Span<byte> bytes = buffer.AsSpan(0, block.Count * options.ElementSize);
            var random = new NormalNumbers(options.Seed, block.Weight.Name, block.Weight.Mean);
            switch (options.DType)
            {
                case "bfloat16":
                    random.Fill(MemoryMarshal.Cast<byte, ushort>(bytes), block.First);
                    break;
                case "float16":
                    random.Fill(MemoryMarshal.Cast<byte, Half>(bytes), block.First);
                    break;
                default:
                    random.Fill(MemoryMarshal.Cast<byte, float>(bytes), block.First);
                    break;
            }

            RandomAccess.Write(file, bytes, block.Offset);
            return buffer;
        }, _ => { });
    }

    private static IEnumerable<(Weight Weight, long First, int Count, long Offset)> Blocks(Weight[] weights, long offset, int elementSize)
    {
        foreach (Weight weight in weights)
        {
            long count = weight.ElementCount;
            for (long first = 0; first < count; first += ElementsPerBlock)
            {
                yield return (weight, first, (int)Math.Min(ElementsPerBlock, count - first), offset + (first * elementSize));
            }

            offset += count * elementSize;
        }
    }

    private static byte[] Header(Weight[] weights, Options options)
    {
        string dtype = options.DType switch { "bfloat16" => "BF16", "float16" => "F16", _ => "F32" };
        var json = new JsonObject { ["__metadata__"] = new JsonObject { ["format"] = "pt" } };
        long begin = 0;
        foreach (Weight weight in weights)
        {
            long end = begin + (weight.ElementCount * options.ElementSize);
            json[weight.Name] = new JsonObject
            {
                ["dtype"] = dtype,
                ["shape"] = new JsonArray([.. weight.Shape.Select(dimension => (JsonNode)dimension)]),
                ["data_offsets"] = new JsonArray(begin, end),
            };
            begin = end;
        }

        byte[] text = Encoding.UTF8.GetBytes(json.ToJsonString());
        int padded = (text.Length + 7) / 8 * 8;
        byte[] header = new byte[8 + padded];
        header.AsSpan().Fill((byte)' ');
        MemoryMarshal.Write(header, (long)padded);
        text.CopyTo(header, 8);
        return header;
    }
}

/// <summary>
/// Roughly normal numbers, standard deviation 0.02, by their position: a mixed counter's four bytes are four uniform numbers, and
/// their sum is close enough to normal (none lies beyond 3.5 deviations).
/// </summary>
internal readonly struct NormalNumbers
{
    private const float StandardDeviation = 0.02f;

    // Of a sum of four bytes: the mean, and the deviation, which is sqrt(4 (256^2 - 1) / 12).
    private const float ByteSumMean = 510;
    private const float ByteSumDeviation = 147.8f;

    private readonly uint _key0;
    private readonly uint _key1;
    private readonly float _mean;

    public NormalNumbers(ulong seed, string name, float mean)
    {
        // FNV-1a over the name: tensors of one seed differ, and a tensor is the same in every sharding.
        ulong key = seed ^ 0xCBF29CE484222325;
        foreach (char letter in name)
        {
            key = (key ^ letter) * 0x100000001B3;
        }

        key = (key ^ (key >> 32)) * 0xD6E8FEB86659FD93;
        (_key0, _key1) = ((uint)key, (uint)(key >> 32));
        _mean = mean;
    }

    public void Fill(Span<ushort> bfloat16, long first)
    {
        Span<ushort> rest = stackalloc ushort[Vector256<ushort>.Count];
        for (int i = 0; i < bfloat16.Length; i += rest.Length)
        {
            Vector256<uint> low = RoundToBFloat16(Next(first + i));
            Vector256<uint> high = RoundToBFloat16(Next(first + i + Vector256<uint>.Count));
            Vector256.Narrow(low, high).CopyTo(rest);
            rest[..Math.Min(rest.Length, bfloat16.Length - i)].CopyTo(bfloat16[i..]);
        }
    }

    public void Fill(Span<Half> float16, long first)
    {
        Span<float> numbers = stackalloc float[Vector256<float>.Count];
        for (int i = 0; i < float16.Length; i++)
        {
            if (i % numbers.Length == 0)
            {
                Next(first + i).CopyTo(numbers);
            }

            float16[i] = (Half)numbers[i % numbers.Length];
        }
    }

    public void Fill(Span<float> float32, long first)
    {
        Span<float> numbers = stackalloc float[Vector256<float>.Count];
        for (int i = 0; i < float32.Length; i += numbers.Length)
        {
            Next(first + i).CopyTo(numbers);
            numbers[..Math.Min(numbers.Length, float32.Length - i)].CopyTo(float32[i..]);
        }
    }

    // The numbers at eight positions from one on.
    private Vector256<float> Next(long position)
    {
        // A tensor of more than 2^32 elements goes on under other keys.
        uint turn = (uint)(position >> 32) * 0x9E3779B9;
        Vector256<uint> x = (Vector256.Create((uint)position) + Vector256<uint>.Indices) ^ Vector256.Create(_key0 + turn);
        x = (x ^ (x >>> 16)) * Vector256.Create(0x7FEB352Du);
        x += Vector256.Create(_key1);
        x = (x ^ (x >>> 15)) * Vector256.Create(0x846CA68Bu);
        x ^= x >>> 16;

        Vector256<uint> pairs = (x & Vector256.Create(0x00FF00FFu)) + ((x >>> 8) & Vector256.Create(0x00FF00FFu));
        Vector256<uint> sum = (pairs + (pairs >>> 16)) & Vector256.Create(0xFFFFu);
        Vector256<float> centred = Vector256.ConvertToSingle(sum.AsInt32()) - Vector256.Create(ByteSumMean);
        return (centred * Vector256.Create(StandardDeviation / ByteSumDeviation)) + Vector256.Create(_mean);
    }

    private static Vector256<uint> RoundToBFloat16(Vector256<float> values)
    {
        Vector256<uint> bits = values.AsUInt32();
        return (bits + Vector256.Create(0x7FFFu) + ((bits >>> 16) & Vector256<uint>.One)) >>> 16;
    }
}

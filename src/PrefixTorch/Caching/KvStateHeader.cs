using System.Globalization;
using System.IO.Hashing;
using System.Text;
using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>The file that a delta continues.</summary>
/// <param name="File">Its path from the delta's folder, with slashes.</param>
/// <param name="Digest">What it was when the delta was written.</param>
/// <param name="Length">How many of its tokens the delta begins with.</param>
internal sealed record KvStateParent(string File, string Digest, int Length);

/// <summary>What a state file says of itself: the metadata of its safetensors header.</summary>
/// <param name="Version">The format's version.</param>
/// <param name="Identity">What must match the model.</param>
/// <param name="Layout">Shape and type of the keys and values.</param>
/// <param name="Length">Tokens, the parent's included.</param>
/// <param name="Created">When it was written.</param>
/// <param name="Facts">Facts of its making that are recorded and never refused.</param>
internal sealed record KvStateHeader(int Version, KvIdentity Identity, KvLayout Layout, int Length, DateTimeOffset Created, IReadOnlyDictionary<string, string> Facts)
{
    /// <summary>The version that is written; every version up to it is read. 2: deltas, 8 bits, names, runs and passes.</summary>
    public const int CurrentVersion = 2;

    private const string Format = KvStateInfo.Format;
    private const string FactPrefix = "fact.";
    private const string DigestKey = "metadata_xxh3";
    private const string Int8 = "int8";
    private const string Damaged = "The file is damaged: restore it from a copy, or make the state again.";

    /// <summary>The cache's name, or null.</summary>
    public string? Name { get; init; }

    /// <summary>The file that this one continues, or null.</summary>
    public KvStateParent? Parent { get; init; }

    /// <summary>The generation that chose the last tokens, or null.</summary>
    public KvRun? Run { get; init; }

    /// <summary>How keys and values are held.</summary>
    public KvQuantization Quantization { get; init; }

    /// <summary>Root mean square of the quantization's error, relative to that of the numbers; null where none was made, for the cache itself was of 8 bits.</summary>
    public double? QuantizationError { get; init; }

    /// <summary>Tokens that the file itself holds.</summary>
    public int OwnLength => Length - (Parent?.Length ?? 0);

    /// <summary>The header as metadata.</summary>
    public Dictionary<string, string> ToMetadata()
    {
        var metadata = new Dictionary<string, string>
        {
            ["format"] = Format,
            ["version"] = Text(Version),
            ["model"] = Identity.Model,
            ["weights"] = Identity.Weights,
            ["rope"] = Identity.Rope,
            ["tokenizer"] = Identity.Tokenizer,
            ["num_hidden_layers"] = Text(Layout.Layers),
            ["num_key_value_heads"] = Text(Layout.KeyValueHeads),
            ["head_dim"] = Text(Layout.HeadDim),
            ["kv_dtype"] = Layout.DType.FileName(),
            ["length"] = Text(Length),
            ["created"] = Created.ToString("O", CultureInfo.InvariantCulture),
        };
        Add("name", Name);
        Add("parent", Parent?.File);
        Add("parent_digest", Parent?.Digest);
        Add("parent_length", Parent is null ? null : Text(Parent.Length));
        Add("seed", Run?.Seed?.ToString(CultureInfo.InvariantCulture));
        Add("branch", Run?.Branch.ToString(CultureInfo.InvariantCulture));
        Add("prompt_length", Run is null ? null : Text(Run.PromptLength));
        Add("quantization", Quantization == KvQuantization.Int8 ? Int8 : null);
        Add("quantization_error", QuantizationError?.ToString("R", CultureInfo.InvariantCulture));
        foreach ((string key, string value) in Facts)
        {
            metadata[FactPrefix + key] = value;
        }

        metadata[DigestKey] = Digest(metadata);
        return metadata;

        void Add(string key, string? value)
        {
            if (value is not null)
            {
                metadata[key] = value;
            }
        }
    }

    /// <summary>Reads the header of a file.</summary>
    /// <exception cref="KvStateException">It is no state file, of a later version, or damaged.</exception>
    public static KvStateHeader Read(SafetensorsFile file)
    {
        string path = file.Path;
        if (file.Metadata.GetValueOrDefault("format") != Format)
        {
            throw new KvStateException(path, $"not a state file: its metadata has format '{file.Metadata.GetValueOrDefault("format") ?? "none"}' and not '{Format}'. Give a file that Save or `prefixtorch prefill --save` wrote.");
        }

        int version = Number(file, "version");
        if (version is < 1 or > CurrentVersion)
        {
            throw new KvStateException(path, $"the file has format version {version}, and this program reads versions up to {CurrentVersion}. Update the program, or make the state again.");
        }

        Dictionary<string, string> metadata = [], facts = [];
        foreach ((string key, string value) in file.Metadata)
        {
            if (key != DigestKey && !key.StartsWith(SafetensorsWriteOptions.ChecksumPrefix, StringComparison.Ordinal))
            {
                metadata.Add(key, value);
            }

            if (key.StartsWith(FactPrefix, StringComparison.Ordinal))
            {
                facts.Add(key[FactPrefix.Length..], value);
            }
        }

        string kept = Required(file, DigestKey), found = Digest(metadata);
        if (kept != found)
        {
            throw new KvStateException(path, $"the metadata has the checksum {found}, but {kept} was written. {Damaged}");
        }

        // 8 bits are the cache's own dtype, or how a wider cache's are held in the file.
        KvQuantization quantization = QuantizationOf(file);
        if (!DTypes.TryParseFileName(Required(file, "kv_dtype"), out DType dtype)
            || !(dtype is DType.Float32 or DType.BFloat16 or DType.Float16 || (dtype == DType.Int8 && quantization == KvQuantization.Int8)))
        {
            throw new KvStateException(path, $"keys and values of type '{metadata["kv_dtype"]}' are not known. Update the program, or make the state again.");
        }

        var header = new KvStateHeader(
            version,
            new KvIdentity(Required(file, "model"), Required(file, "weights"), Required(file, "rope"), Required(file, "tokenizer")),
            new KvLayout(Number(file, "num_hidden_layers"), Number(file, "num_key_value_heads"), Number(file, "head_dim"), dtype),
            Number(file, "length"),
            Parse<DateTimeOffset>(file, "created"),
            facts)
        {
            Name = file.Metadata.GetValueOrDefault("name"),
            Parent = file.Metadata.TryGetValue("parent", out string? parent) ? new(parent, Required(file, "parent_digest"), Number(file, "parent_length")) : null,
            Run = file.Metadata.ContainsKey("branch") ? new(file.Metadata.ContainsKey("seed") ? Parse<ulong>(file, "seed") : null, Parse<long>(file, "branch"), Number(file, "prompt_length")) : null,
            Quantization = quantization,
            QuantizationError = file.Metadata.ContainsKey("quantization_error") ? Parse<double>(file, "quantization_error") : null,
        };
        return header.OwnLength >= 0 && (header.Run is null || header.Run.PromptLength <= header.Length)
            ? header
            : throw new KvStateException(path, $"the state has {header.Length} tokens, but {header.Parent?.Length ?? 0} of its parent and a prompt of {header.Run?.PromptLength ?? 0}. {Damaged}");
    }

    /// <summary>Refuses what another model made.</summary>
    /// <exception cref="KvStateException">Weights, rope, tokenizer or shape differ; the message has both values.</exception>
    public void CheckAgainst(string path, IKvCacheHost host)
    {
        KvIdentity ours = host.Identity;
        Match("weights", Identity.Weights, ours.Weights, $"the state was made by '{Identity.Model}' and the loaded model is '{ours.Model}'; load that model, or read the prompt again with this one");
        Match("rope", Identity.Rope, ours.Rope, "the keys were turned by other angles; load the model with the config.json that the state was made with");
        Match("tokenizer", Identity.Tokenizer, ours.Tokenizer, "ids mean other text; load the model with the tokenizer that the state was made with");
        KvLayout layout = host.Layout;
        Match("num_hidden_layers", Text(Layout.Layers), Text(layout.Layers), "load the model that the state was made with");
        Match("num_key_value_heads", Text(Layout.KeyValueHeads), Text(layout.KeyValueHeads), "load the model that the state was made with");
        Match("head_dim", Text(Layout.HeadDim), Text(layout.HeadDim), "load the model that the state was made with");
        if (Length > host.MaxPositionEmbeddings)
        {
            throw new KvStateException(path, $"the state has {Length} tokens and the model's context is {host.MaxPositionEmbeddings}: load the model with the config.json that the state was made with.");
        }

        void Match(string name, string theirs, string mine, string remedy)
        {
            if (theirs != mine)
            {
                throw new KvStateException(path, $"{name} of the state: {Show(theirs)}, of the model: {Show(mine)}: {remedy}.");
            }
        }

        static string Show(string value) => value.Length == 0 ? "none" : value;
    }

    private static KvQuantization QuantizationOf(SafetensorsFile file) => file.Metadata.GetValueOrDefault("quantization") switch
    {
        null => KvQuantization.None,
        Int8 => KvQuantization.Int8,
        string other => throw new KvStateException(file.Path, $"keys and values are quantized as '{other}', and this program reads '{Int8}'. Update the program, or make the state again."),
    };

    private static int Number(SafetensorsFile file, string key) =>
        int.TryParse(Required(file, key), NumberStyles.None, CultureInfo.InvariantCulture, out int value)
            ? value
            : throw new KvStateException(file.Path, $"the metadata's {key} is '{file.Metadata[key]}', not a number. {Damaged}");

    private static T Parse<T>(SafetensorsFile file, string key)
        where T : IParsable<T> =>
        T.TryParse(Required(file, key), CultureInfo.InvariantCulture, out T? value)
            ? value
            : throw new KvStateException(file.Path, $"the metadata's {key} is '{file.Metadata[key]}', which cannot be read. {Damaged}");

    private static string Required(SafetensorsFile file, string key) =>
        file.Metadata.TryGetValue(key, out string? value)
            ? value
            : throw new KvStateException(file.Path, $"the metadata lacks {key}. {Damaged}");

    private static string Digest(Dictionary<string, string> metadata)
    {
        string[] keys = [.. metadata.Keys];
        Array.Sort(keys, StringComparer.Ordinal);
        var hash = new XxHash3();
        foreach (string key in keys)
        {
            // A zero byte ends each text: no two lists of texts are the same bytes.
            hash.Append(Encoding.UTF8.GetBytes($"{key}\0{metadata[key]}\0"));
        }

        return $"{hash.GetCurrentHashAsUInt64():x16}";
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}

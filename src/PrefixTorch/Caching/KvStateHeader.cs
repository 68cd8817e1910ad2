using System.Globalization;
using System.IO.Hashing;
using System.Text;
using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>What a state file says of itself: the metadata of its safetensors header.</summary>
/// <param name="Version">The format's version.</param>
/// <param name="Identity">What must match the model.</param>
/// <param name="Layout">Shape and type of the keys and values.</param>
/// <param name="Length">Tokens.</param>
/// <param name="Created">When it was written.</param>
/// <param name="Facts">Facts of its making that are recorded and never refused.</param>
internal sealed record KvStateHeader(int Version, KvIdentity Identity, KvLayout Layout, int Length, DateTimeOffset Created, IReadOnlyDictionary<string, string> Facts)
{
    /// <summary>The version that is written; every version up to it is read.</summary>
    public const int CurrentVersion = 1;

    private const string Format = "prefixtorch.kv_state";
    private const string FactPrefix = "fact.";
    private const string DigestKey = "metadata_xxh3";

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
        foreach ((string key, string value) in Facts)
        {
            metadata[FactPrefix + key] = value;
        }

        metadata[DigestKey] = Digest(metadata);
        return metadata;
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

        Dictionary<string, string> metadata = file.Metadata.Where(pair => pair.Key != DigestKey && !pair.Key.StartsWith(SafetensorsWriteOptions.ChecksumPrefix, StringComparison.Ordinal)).ToDictionary();
        string kept = Required(file, DigestKey), found = Digest(metadata);
        if (kept != found)
        {
            throw new KvStateException(path, $"the metadata has the checksum {found}, but {kept} was written. The file is damaged: restore it from a copy, or make the state again.");
        }

        if (!DTypes.TryParseFileName(Required(file, "kv_dtype"), out DType dtype))
        {
            throw new KvStateException(path, $"keys and values of type '{metadata["kv_dtype"]}' are not known. Update the program, or make the state again.");
        }

        if (!DateTimeOffset.TryParse(Required(file, "created"), CultureInfo.InvariantCulture, DateTimeStyles.None, out DateTimeOffset created))
        {
            throw new KvStateException(path, $"'{metadata["created"]}' is no time of creation. The file is damaged: restore it from a copy, or make the state again.");
        }

        return new KvStateHeader(
            version,
            new KvIdentity(Required(file, "model"), Required(file, "weights"), Required(file, "rope"), Required(file, "tokenizer")),
            new KvLayout(Number(file, "num_hidden_layers"), Number(file, "num_key_value_heads"), Number(file, "head_dim"), dtype),
            Number(file, "length"),
            created,
            metadata.Where(pair => pair.Key.StartsWith(FactPrefix, StringComparison.Ordinal)).ToDictionary(pair => pair.Key[FactPrefix.Length..], pair => pair.Value));
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

        void Match(string name, string theirs, string mine, string remedy)
        {
            if (theirs != mine)
            {
                throw new KvStateException(path, $"{name} of the state: {Show(theirs)}, of the model: {Show(mine)}: {remedy}.");
            }
        }

        static string Show(string value) => value.Length == 0 ? "none" : value;
    }

    private static int Number(SafetensorsFile file, string key) =>
        int.TryParse(Required(file, key), NumberStyles.None, CultureInfo.InvariantCulture, out int value)
            ? value
            : throw new KvStateException(file.Path, $"the metadata's {key} is '{file.Metadata[key]}', not a number. The file is damaged: restore it from a copy, or make the state again.");

    private static string Required(SafetensorsFile file, string key) =>
        file.Metadata.TryGetValue(key, out string? value)
            ? value
            : throw new KvStateException(file.Path, $"the metadata lacks {key}. The file is damaged: restore it from a copy, or make the state again.");

    private static string Digest(Dictionary<string, string> metadata)
    {
        var hash = new XxHash3();
        foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            // A zero byte ends each text: no two lists of texts are the same bytes.
            hash.Append(Encoding.UTF8.GetBytes($"{key}\0{value}\0"));
        }

        return $"{hash.GetCurrentHashAsUInt64():x16}";
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}

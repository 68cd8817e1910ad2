using System.IO.Hashing;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Text;
using PrefixTorch.Checkpoints;
using PrefixTorch.Memory;

namespace PrefixTorch.Caching;

/// <summary>
/// One state file, mapped, its header and shapes checked: a safetensors file that anyone can open. <c>input_ids</c> [1, S], <c>logits</c> [V] where known,
/// <c>key.i</c> and <c>value.i</c> [1, KV, S, D] as <c>past_key_values</c> has them, <c>token_origins</c> [S], <c>pass_starts</c> [S], <c>text</c> [bytes];
/// in the metadata what must match, and a checksum for every tensor. S counts the file's own tokens: a delta names a parent for those before.
/// In 8 bits keys and values are I8, and <c>key_scale.i</c> and <c>value_scale.i</c> [1, KV, S] what they are multiplied with.
/// </summary>
internal sealed unsafe class KvStatePart : IDisposable
{
    public const string IdsName = "input_ids";
    public const string LogitsName = "logits";
    public const string OriginsName = "token_origins";
    public const string PassStartsName = "pass_starts";
    public const string TextName = "text";

    private readonly List<TensorEntry> _known = [];

    private KvStatePart(SafetensorsFile file)
    {
        File = file;
        Header = KvStateHeader.Read(file);
        KvLayout layout = Header.Layout;
        int length = Header.OwnLength;
        bool quantized = Header.Quantization == KvQuantization.Int8;
        DType held = quantized ? DType.Int8 : layout.DType;
        Ids = Require(IdsName, DType.Int64, 1, length);
        Origins = Require(OriginsName, DType.UInt8, length);
        PassStarts = Header.Version >= 2 ? Require(PassStartsName, DType.UInt8, length) : null;
        Logits = Optional(LogitsName, DType.Float32);
        Text = Optional(TextName, DType.UInt8);
        for (int i = 0; i < layout.Layers; i++)
        {
            Keys.Add(Require($"key.{i}", held, 1, layout.KeyValueHeads, length, layout.HeadDim));
            Values.Add(Require($"value.{i}", held, 1, layout.KeyValueHeads, length, layout.HeadDim));
            if (quantized)
            {
                KeyScales.Add(Require($"key_scale.{i}", DType.Float32, 1, layout.KeyValueHeads, length));
                ValueScales.Add(Require($"value_scale.{i}", DType.Float32, 1, layout.KeyValueHeads, length));
            }
        }

        if (file.Tensors.Count != _known.Count)
        {
            string strange = file.Tensors.Keys.Except(_known.Select(entry => entry.Name)).First();
            throw new KvStateException(file.Path, $"the file has {file.Tensors.Count} tensors, '{strange}' among them, and a state of {layout.Layers} layers has {_known.Count}. Make the state again.");
        }

        // Small, and everything hangs on them: verified always.
        Verify(Ids);
        Verify(Origins);
        if (PassStarts is not null)
        {
            Verify(PassStarts);
        }
    }

    public SafetensorsFile File { get; }

    public KvStateHeader Header { get; }

    public string Path => File.Path;

    public TensorEntry Ids { get; }

    public TensorEntry Origins { get; }

    public TensorEntry? PassStarts { get; }

    public TensorEntry? Logits { get; }

    public TensorEntry? Text { get; }

    public List<TensorEntry> Keys { get; } = [];

    public List<TensorEntry> Values { get; } = [];

    public List<TensorEntry> KeyScales { get; } = [];

    public List<TensorEntry> ValueScales { get; } = [];

    /// <summary>
    /// What tells this file from any other: 32 hex digits over its header, which holds every tensor's checksum.
    /// </summary>
    public string Digest
    {
        get
        {
            byte* start = File.Block.Pointer;
            long length = SafetensorsHeader.PrefixByteCount + *(long*)start;
            return Convert.ToHexStringLower(XxHash128.Hash(new ReadOnlySpan<byte>(start, checked((int)length))));
        }
    }

    /// <summary>Keys and values as a buffer over the map, in the type that the file holds. The caller releases it.</summary>
    public HostKvBuffer Map()
    {
        KvLayout held = Header.Layout with { DType = Header.Quantization == KvQuantization.Int8 ? DType.Int8 : Header.Layout.DType };
        return new HostKvBuffer(held, Header.OwnLength, File.Block.Retain(), new HostKvPlanes(Places(Keys), Places(Values), Places(KeyScales), Places(ValueScales)));

        nint[] Places(List<TensorEntry> entries) => Array.ConvertAll(entries.ToArray(), entry => (nint)File.Pointer(entry));
    }

    /// <summary>Opens and checks a file. The caller disposes it.</summary>
    /// <exception cref="KvStateException">It is no state file, of a later version, or damaged.</exception>
    /// <exception cref="CheckpointException">It is not there, truncated or damaged.</exception>
    public static KvStatePart Open(string path)
    {
        var file = SafetensorsFile.Open(path);
        try
        {
            return new KvStatePart(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Compares every tensor with its checksum. Reads all of the file.</summary>
    public void VerifyPayload()
    {
        try
        {
            Parallel.ForEach(_known, Verify);
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    /// <summary>The file's own tokens.</summary>
    public int[] ReadIds()
    {
        ReadOnlySpan<long> stored = MemoryMarshal.Cast<byte, long>(File.Bytes(Ids));
        var ids = new int[stored.Length];
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = stored[i] is >= 0 and <= int.MaxValue ? (int)stored[i] : throw Broken($"token {i} has the id {stored[i]}");
        }

        return ids;
    }

    /// <summary>The own tokens' text, or null where the file has none.</summary>
    public string? ReadText()
    {
        if (Text is null)
        {
            return null;
        }

        Verify(Text);
        return Encoding.UTF8.GetString(File.Bytes(Text));
    }

    /// <summary>The logits after the last token, or null where the file has none.</summary>
    public float[]? ReadLogits(int vocabulary)
    {
        if (Logits is null)
        {
            return null;
        }

        return Logits.Shape is [long count] && count == vocabulary
            ? MemoryMarshal.Cast<byte, float>(File.Bytes(Logits)).ToArray()
            : throw Broken($"the logits have the shape {TensorShape.Format(Logits.Shape)} and the model's vocabulary is {vocabulary}");
    }

    /// <summary>An error for what cannot have been written so.</summary>
    public KvStateException Broken(string what) => new(Path, $"{what}. The file is damaged: restore it from a copy, or make the state again.");

    public void Dispose() => File.Dispose();

    private void Verify(TensorEntry entry)
    {
        if (!SafetensorsChecksums.Verify(File, entry))
        {
            throw Broken($"{entry.Name} has no checksum");
        }
    }

    private TensorEntry? Optional(string name, DType dtype) =>
        File.Tensors.TryGetValue(name, out TensorEntry? entry) ? Require(name, dtype, entry.Shape is [long count] ? count : -1) : null;

    private TensorEntry Require(string name, DType dtype, params long[] shape)
    {
        if (!File.Tensors.TryGetValue(name, out TensorEntry? entry))
        {
            throw Broken($"the state lacks {name}");
        }

        if (entry.DType != dtype || !entry.Shape.AsSpan().SequenceEqual(shape))
        {
            throw Broken($"{name} is {entry.DType.FileName()} {TensorShape.Format(entry.Shape)}, and the header says {dtype.FileName()} {TensorShape.Format(shape)}");
        }

        _known.Add(entry);
        return entry;
    }
}

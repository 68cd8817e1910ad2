using System.Buffers;
using System.Collections.Concurrent;
using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>How a <see cref="BytePairModel"/> makes symbols of a piece.</summary>
internal sealed record BytePairOptions
{
    /// <summary>Whether symbols are bytes in <see cref="ByteLevelAlphabet"/> (Llama 3) or characters (Llama 2).</summary>
    public required bool ByteLevel { get; init; }

    /// <summary>Whether a piece that is a token is that token, whatever the merges would make of it.</summary>
    public bool IgnoreMerges { get; init; }

    /// <summary>Whether a character without a token becomes its UTF-8 bytes' tokens, <c>&lt;0xE4&gt;</c> and so on.</summary>
    public bool ByteFallback { get; init; }

    /// <summary>What a character becomes that nothing else covers; <see langword="null"/>: nothing.</summary>
    public int? UnknownId { get; init; }

    /// <summary>Whether neighbouring unknown characters become one token.</summary>
    public bool FuseUnknown { get; init; }
}

/// <summary>
/// Byte-pair encoding of single pieces, the one algorithm behind every file format here. Immutable but for a cache of pieces;
/// any number of threads may encode, each with its own <see cref="Scratch"/>.
/// </summary>
/// <remarks>
/// Why not Microsoft.ML.Tokenizers 2.0.1, which the tests take as a second opinion: its BpeTokenizer knows no
/// <c>ignore_merges</c> and takes twice the time to load Llama 3's vocabulary; it and TiktokenTokenizer are quadratic in a long piece
/// (<see cref="PairMerger"/>); SentencePieceTokenizer merges the rightmost of equal pairs, where SentencePiece merges the leftmost
/// (<c>---</c> with a token <c>--</c>), and shows neither scores nor kinds of pieces, without which special tokens and the fingerprint
/// could only be guessed. Elsewhere all three give the ids of this class.
/// </remarks>
internal sealed class BytePairModel
{
    private const int LongestCachedPiece = 48;
    private const int CacheCapacity = 1 << 16;

    private readonly MergeTable _merges;
    private readonly HashSet<int> _special;
    private readonly int[] _byteIds = new int[256];
    private readonly ConcurrentDictionary<string, int[]> _cache = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _cacheBySpan;
    private int _cached;

    /// <summary>A model that never gives one of the <paramref name="special"/> ids for text, unknown apart.</summary>
    public BytePairModel(Vocabulary vocabulary, MergeTable merges, BytePairOptions options, IEnumerable<int> special)
    {
        Vocabulary = vocabulary;
        Options = options;
        _merges = merges;
        _special = [.. special];
        _merges.RemoveResults(_special);
        _cacheBySpan = _cache.GetAlternateLookup<ReadOnlySpan<char>>();
        for (int value = 0; value < 256; value++)
        {
            _byteIds[value] = options.ByteLevel ? Find([ByteLevelAlphabet.ToChar((byte)value)]) : options.ByteFallback ? Find($"<0x{value:X2}>") : -1;
        }
    }

    public Vocabulary Vocabulary { get; }

    public MergeTable Merges => _merges;

    public BytePairOptions Options { get; }

    /// <summary>Adds the ids of one piece to the scratch's output.</summary>
    public void Encode(ReadOnlySpan<char> piece, Scratch scratch)
    {
        if (_cacheBySpan.TryGetValue(piece, out int[]? known))
        {
            scratch.Output.AddRange(known);
            return;
        }

        int before = scratch.Output.Count;
        if (Options.ByteLevel)
        {
            EncodeBytes(piece, scratch);
        }
        else
        {
            EncodeCharacters(piece, scratch);
        }

        // ConcurrentDictionary.Count takes every lock there is; a count beside it may run ahead a little and does no harm.
        if (piece.Length <= LongestCachedPiece && Volatile.Read(ref _cached) < CacheCapacity)
        {
            int[] ids = new int[scratch.Output.Count - before];
            scratch.Output.CopyTo(before, ids, 0, ids.Length);
            if (_cache.TryAdd(piece.ToString(), ids))
            {
                Interlocked.Increment(ref _cached);
            }
        }
    }

    private void EncodeBytes(ReadOnlySpan<char> piece, Scratch scratch)
    {
        byte[] bytes = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(piece.Length));
        int count = Encoding.UTF8.GetBytes(piece, bytes);
        ReadOnlySpan<byte> utf8 = bytes.AsSpan(0, count);
        if (!(Options.IgnoreMerges && TryWhole(utf8, scratch)))
        {
            scratch.Clear();
            foreach (byte value in utf8)
            {
                scratch.Add(_byteIds[value], Options);
            }

            scratch.Merge();
        }

        ArrayPool<byte>.Shared.Return(bytes);
    }

    private bool TryWhole(ReadOnlySpan<byte> utf8, Scratch scratch)
    {
        char[] spelling = ArrayPool<char>.Shared.Rent(utf8.Length);
        ByteLevelAlphabet.ToChars(utf8, spelling);
        int id = Find(spelling.AsSpan(0, utf8.Length));
        ArrayPool<char>.Shared.Return(spelling);
        if (id >= 0)
        {
            scratch.Output.Add(id);
        }

        return id >= 0;
    }

    private void EncodeCharacters(ReadOnlySpan<char> piece, Scratch scratch)
    {
        if (Options.IgnoreMerges && Find(piece) is >= 0 and int whole)
        {
            scratch.Output.Add(whole);
            return;
        }

        scratch.Clear();
        Span<byte> utf8 = stackalloc byte[4];
        for (int i = 0; i < piece.Length;)
        {
            Rune.DecodeFromUtf16(piece[i..], out Rune rune, out int length);
            int id = Find(piece.Slice(i, length));
            i += length;
            ReadOnlySpan<byte> bytes = utf8[..rune.EncodeToUtf8(utf8)];
            if (id < 0 && HasAll(bytes))
            {
                foreach (byte value in bytes)
                {
                    scratch.Add(_byteIds[value], Options);
                }
            }
            else
            {
                scratch.Add(id, Options);
            }
        }

        scratch.Merge();
    }

    private bool HasAll(ReadOnlySpan<byte> bytes)
    {
        bool all = true;
        foreach (byte value in bytes)
        {
            all &= _byteIds[value] >= 0;
        }

        return all;
    }

    private int Find(ReadOnlySpan<char> spelling) =>
        Vocabulary.TryGetId(spelling, out int id) && !_special.Contains(id) ? id : -1;

    /// <summary>What one call of encode needs besides the model: its output and its memory. For one thread.</summary>
    public sealed class Scratch(BytePairModel model)
    {
        private readonly PairMerger _merger = new(model._merges);
        private readonly List<int> _symbols = [];
        private bool _afterUnknown;

        /// <summary>The ids so far.</summary>
        public List<int> Output { get; } = [];

        internal void Clear()
        {
            _symbols.Clear();
            _afterUnknown = false;
        }

        /// <summary>Adds a symbol; a negative one is unknown, and left out where the vocabulary has no token for that, as Hugging Face does.</summary>
        internal void Add(int id, BytePairOptions options)
        {
            bool unknown = id < 0;
            int? symbol = unknown ? options.UnknownId : id;
            if (symbol is { } known && !(unknown && _afterUnknown && options.FuseUnknown))
            {
                _symbols.Add(known);
            }

            _afterUnknown = unknown;
        }

        internal void Merge() => _merger.Merge(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_symbols), Output);
    }
}

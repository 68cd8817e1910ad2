namespace PrefixTorch.Tokenization;

/// <summary>Token spellings and their ids, as a tokenizer file lists them. Filled while loading, never changed afterwards.</summary>
internal sealed class Vocabulary
{
    /// <summary>Ids beyond this are taken for damage: an array over them would not fit in memory.</summary>
    public const int MaxId = 1 << 22;

    private readonly Dictionary<string, int> _ids;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _idsBySpan;
    private string?[] _spellings;

    public Vocabulary(int capacity)
    {
        _ids = new Dictionary<string, int>(capacity, StringComparer.Ordinal);
        _idsBySpan = _ids.GetAlternateLookup<ReadOnlySpan<char>>();
        _spellings = new string?[capacity];
    }

    /// <summary>The highest id and one.</summary>
    public int Size { get; private set; }

    /// <summary>Adds a token.</summary>
    /// <exception cref="TokenizerException">The id is negative or absurd, or another spelling has it.</exception>
    public void Add(string spelling, int id, string file)
    {
        if (id is < 0 or > MaxId)
        {
            throw new TokenizerException($"{file}: token \"{spelling}\" has the id {id}; ids go from 0 to {MaxId}.");
        }

        if (id >= _spellings.Length)
        {
            Array.Resize(ref _spellings, Math.Max(id + 1, _spellings.Length * 2));
        }

        if (_spellings[id] is { } other && other != spelling)
        {
            throw new TokenizerException($"{file}: the id {id} belongs to two tokens, \"{other}\" and \"{spelling}\".");
        }

        if (_ids.TryGetValue(spelling, out int known) && known != id)
        {
            throw new TokenizerException($"{file}: the token \"{spelling}\" has two ids, {known} and {id}.");
        }

        _spellings[id] = spelling;
        _ids[spelling] = id;
        Size = Math.Max(Size, id + 1);
    }

    /// <summary>The spelling of an id below <see cref="Size"/>; <see langword="null"/> for a hole in the numbering.</summary>
    public string? this[int id] => _spellings[id];

    /// <summary>Looks a spelling up.</summary>
    public bool TryGetId(ReadOnlySpan<char> spelling, out int id) => _idsBySpan.TryGetValue(spelling, out id);

    /// <summary>The id of a spelling, or -1.</summary>
    public int IdOrMinusOne(ReadOnlySpan<char> spelling) => _idsBySpan.TryGetValue(spelling, out int id) ? id : -1;
}

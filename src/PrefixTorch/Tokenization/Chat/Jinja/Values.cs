namespace PrefixTorch.Tokenization.Chat.Jinja;

// A template's values: null (None), bool, long, BigInteger, double, TracedText, and the types of this file.

/// <summary>A name or member that is not there: prints as nothing, is false and empty; anything else with it is an error.</summary>
internal sealed record Undefined(string Reason);

internal enum ListKind
{
    List,
    Tuple,

    /// <summary>What map, select and their kin give: always true, read once, without a length.</summary>
    Generator,
}

/// <summary>A list, a tuple or a generator. Templates cannot change it.</summary>
internal sealed class JinjaList(IEnumerable<object?> items, ListKind kind = ListKind.List)
{
    public IReadOnlyList<object?> Items { get; private set; } = [.. items];

    public ListKind Kind { get; } = kind;

    /// <summary>The items; of a generator only the first time.</summary>
    public IReadOnlyList<object?> Read()
    {
        IReadOnlyList<object?> items = Items;
        if (Kind == ListKind.Generator)
        {
            Items = [];
        }

        return items;
    }
}

/// <summary>A mapping in the order it was written. Templates cannot change it.</summary>
internal sealed class JinjaMapping
{
    private readonly OrderedDictionary<object, object?> _items = new(ValueComparer.Instance);

    public IEnumerable<KeyValuePair<object, object?>> Items => _items;

    public int Count => _items.Count;

    public void Set(object key, object? value) => _items[key] = value;

    public bool TryGet(object? key, out object? value)
    {
        value = null;
        return key is not null && _items.TryGetValue(key, out value);
    }
}

/// <summary>What <c>namespace()</c> gives: the one thing whose attributes a template can set.</summary>
internal sealed class JinjaNamespace
{
    public Dictionary<string, object?> Attributes { get; } = new(StringComparer.Ordinal);
}

/// <summary>Something that can be called: a function, a method of a value, a macro.</summary>
internal sealed record JinjaFunction(string Name, Func<RenderContext, Arguments, object?> Invoke);

/// <summary>Python's equality, for keys.</summary>
internal sealed class ValueComparer : IEqualityComparer<object>
{
    public static readonly ValueComparer Instance = new();

    bool IEqualityComparer<object>.Equals(object? x, object? y) => Operators.AreEqual(x, y);

    int IEqualityComparer<object>.GetHashCode(object value) => value switch
    {
        bool b => (b ? 1.0 : 0.0).GetHashCode(),
        long n => ((double)n).GetHashCode(),
        System.Numerics.BigInteger n => ((double)n).GetHashCode(),
        _ => value.GetHashCode(),
    };
}

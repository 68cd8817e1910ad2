namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>The variable <c>loop</c> of a for loop.</summary>
internal sealed class Loop(IReadOnlyList<object?> items)
{
    private static readonly object s_nothing = new();

    private int _index = -1;
    private object? _lastChanged = s_nothing;

    public object? Current => items[_index];

    public bool MoveNext() => ++_index < items.Count;

    public object? Attribute(string name) => name switch
    {
        "index" => _index + 1L,
        "index0" => (long)_index,
        "revindex" => (long)(items.Count - _index),
        "revindex0" => (long)(items.Count - _index - 1),
        "first" => _index == 0,
        "last" => _index == items.Count - 1,
        "length" => (long)items.Count,
        "previtem" => _index > 0 ? items[_index - 1] : new Undefined("there is no previous item"),
        "nextitem" => _index + 1 < items.Count ? items[_index + 1] : new Undefined("there is no next item"),
        "cycle" => new JinjaFunction("loop.cycle", Cycle),
        "changed" => new JinjaFunction("loop.changed", (context, arguments) => HasChanged(arguments)),
        _ => new Undefined($"'loop' has no attribute '{name}' that is known here"),
    };

    private object? Cycle(RenderContext context, Arguments arguments) => arguments.Positional.Count == 0
        ? throw context.Error("loop.cycle needs values to go through.")
        : arguments.Positional[_index % arguments.Positional.Count];

    private bool HasChanged(Arguments arguments)
    {
        var now = new JinjaList(arguments.Positional);
        bool changed = !Operators.AreEqual(_lastChanged, now);
        _lastChanged = now;
        return changed;
    }
}

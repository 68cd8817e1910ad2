namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>
/// The names that a piece of a template sees: its own, then those around it. A loop's round, a macro's call and a
/// captured block have a scope of their own; <c>if</c> has none, as in Jinja.
/// </summary>
internal sealed class Scope(RenderContext context, Scope? outer)
{
    private readonly Dictionary<string, object?> _names = new(StringComparer.Ordinal);

    public RenderContext Context { get; } = context;

    public Scope Inner() => new(Context, this);

    public void Set(string name, object? value) => _names[name] = value;

    public object? Get(string name)
    {
        for (Scope? scope = this; scope is not null; scope = scope.Outer)
        {
            if (scope._names.TryGetValue(name, out object? value))
            {
                return value;
            }
        }

        return new Undefined($"'{name}' is undefined");
    }

    private Scope? Outer { get; } = outer;
}

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>The arguments of a call, a filter or a test, and how they meet the names that the callee has for them.</summary>
internal sealed class Arguments(IReadOnlyList<object?> positional, IReadOnlyDictionary<string, object?> named)
{
    public static readonly Arguments None = new([], new Dictionary<string, object?>());

    public IReadOnlyList<object?> Positional { get; } = positional;

    public IReadOnlyDictionary<string, object?> Named { get; } = named;

    /// <summary>One value for each of <paramref name="names"/>; a name with '=' may be missing and is then <see cref="Missing"/>.</summary>
    public object?[] Bind(RenderContext context, string callee, params ReadOnlySpan<string> names)
    {
        if (Positional.Count > names.Length)
        {
            throw context.Error($"{callee} takes {names.Length} arguments and was given {Positional.Count}.");
        }

        var values = new object?[names.Length];
        int found = Positional.Count;
        for (int i = 0; i < names.Length; i++)
        {
            string name = names[i].TrimEnd('=');
            bool isNamed = Named.TryGetValue(name, out object? value);
            if (i < Positional.Count)
            {
                values[i] = isNamed ? throw context.Error($"{callee} was given '{name}' twice.") : Positional[i];
            }
            else if (isNamed)
            {
                values[i] = value;
                found++;
            }
            else
            {
                values[i] = names[i].EndsWith('=') ? Missing.Value : throw context.Error($"{callee} needs the argument '{name}'.");
            }
        }

        if (found < Positional.Count + Named.Count)
        {
            string known = string.Join(", ", names.ToArray().Select(name => name.TrimEnd('=')));
            string unknown = string.Join(", ", Named.Keys.Where(key => !known.Split(", ").Contains(key)));
            throw context.Error($"{callee} does not know the argument '{unknown}'; it knows: {(known.Length == 0 ? "none" : known)}.");
        }

        return values;
    }

    /// <summary>These arguments without the first.</summary>
    public Arguments Rest(int skip) => new([.. Positional.Skip(skip)], Named);

    internal sealed class Missing
    {
        public static readonly Missing Value = new();
    }
}

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>Attributes, items and slices of values.</summary>
internal static class Members
{
    // Python's methods that would change a value; transformers' sandbox refuses them too.
    private static readonly HashSet<string> s_changing =
        ["append", "extend", "insert", "remove", "sort", "reverse", "clear", "pop", "popitem", "update", "setdefault", "add", "discard"];

    /// <summary><c>value.name</c>: a method or attribute first, then the item of that name.</summary>
    public static object? Attribute(RenderContext context, object? value, string name) => value switch
    {
        Undefined undefined => throw context.Error($"{undefined.Reason}, so '.{name}' of it cannot be read."),
        JinjaMapping mapping => (object?)MappingMethod(mapping, name) ?? Item(context, value, TracedText.Trusted(name)),
        TracedText text => (object?)StringMethods.Find(context, text, name) ?? NoAttribute(value, name),
        JinjaList list => (object?)ListMethod(context, list, name) ?? NoAttribute(value, name),
        JinjaNamespace names => names.Attributes.TryGetValue(name, out object? found) ? found : NoAttribute(value, name),
        Loop loop => loop.Attribute(name),
        _ => NoAttribute(value, name),
    };

    /// <summary><c>value[key]</c>: the item first, then the attribute of that name.</summary>
    public static object? Item(RenderContext context, object? value, object? key)
    {
        switch (value)
        {
            case Undefined undefined:
                throw context.Error($"{undefined.Reason}, so an item of it cannot be read.");
            case JinjaMapping mapping when mapping.TryGet(key, out object? found):
                return found;
            case JinjaMapping mapping when key is TracedText name:
                return (object?)MappingMethod(mapping, name.Value) ?? new Undefined($"the mapping has no '{name}'");
            case JinjaMapping:
                return new Undefined($"the mapping has no {Operators.Repr(context, key)}");
            case JinjaList { Kind: not ListKind.Generator } list when key is long or bool:
                return At(list.Items.Count, Operators.ToLong(key)) is int at ? list.Items[at] : NoItem(context, value, key);
            case TracedText text when key is long or bool:
                int[] starts = PythonText.CodePoints(text.Value);
                return At(starts.Length - 1, Operators.ToLong(key)) is int character
                    ? text.Substring(starts[character], starts[character + 1] - starts[character])
                    : NoItem(context, value, key);
            default:
                return key is TracedText attribute ? Attribute(context, value, attribute.Value) : NoItem(context, value, key);
        }
    }

    /// <summary><c>value[start:stop:step]</c></summary>
    public static object? Slice(RenderContext context, object? value, object? start, object? stop, object? step)
    {
        if (value is TracedText text)
        {
            context.Spend(text.Length);
            int[] starts = PythonText.CodePoints(text.Value);
            IEnumerable<int> characters = Indices(context, starts.Length - 1, start, stop, step);
            if (step is null or 1L)
            {
                (int first, int count) = (characters.FirstOrDefault(), characters.Count());
                return count == 0 ? TracedText.Empty : text.Substring(starts[first], starts[first + count] - starts[first]);
            }

            return TracedText.Concat(characters.Select(i => text.Substring(starts[i], starts[i + 1] - starts[i])));
        }

        return value is JinjaList { Kind: not ListKind.Generator } list
            ? new JinjaList(Indices(context, list.Items.Count, start, stop, step).Select(i => list.Items[i]), list.Kind)
            : throw context.Error($"{Operators.Describe(value)} cannot be sliced; make it a list with '| list'.");
    }

    /// <summary>An attribute by a dotted path, as the filters' <c>attribute</c> argument has it.</summary>
    public static object? Path(RenderContext context, object? value, object? path)
    {
        if (path is not TracedText text)
        {
            return Item(context, value, path);
        }

        foreach (string part in text.Value.Split('.'))
        {
            value = Item(context, value, long.TryParse(part, out long index) ? index : TracedText.Trusted(part));
        }

        return value;
    }

    private static JinjaFunction? MappingMethod(JinjaMapping mapping, string name) => name switch
    {
        "items" => new JinjaFunction("items", (context, arguments) => NoArguments(context, arguments, "items", Filters.Pairs(mapping))),
        "keys" => new JinjaFunction("keys", (context, arguments) => NoArguments(context, arguments, "keys", new JinjaList(mapping.Items.Select(item => item.Key)))),
        "values" => new JinjaFunction("values", (context, arguments) => NoArguments(context, arguments, "values", new JinjaList(mapping.Items.Select(item => item.Value)))),
        "copy" => new JinjaFunction("copy", (context, arguments) => NoArguments(context, arguments, "copy", mapping)),
        "get" => new JinjaFunction("get", (context, arguments) => Get(context, mapping, arguments)),
        _ => Changing(name),
    };

    private static object? Get(RenderContext context, JinjaMapping mapping, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "get", "key", "default=");
        return mapping.TryGet(values[0], out object? found) ? found : values[1] is Arguments.Missing ? null : values[1];
    }

    private static JinjaFunction? ListMethod(RenderContext context, JinjaList list, string name) => name switch
    {
        "count" => new JinjaFunction("count", (_, arguments) =>
        {
            object? value = arguments.Bind(context, "count", "value")[0];
            return (long)list.Items.Count(item => Operators.AreEqual(item, value));
        }),
        "index" => new JinjaFunction("index", (_, arguments) =>
        {
            object? value = arguments.Bind(context, "index", "value")[0];
            int found = list.Items.ToList().FindIndex(item => Operators.AreEqual(item, value));
            return found < 0 ? throw context.Error("the value that 'index' looks for is not in the list.") : (long)found;
        }),
        _ => Changing(name),
    };

    private static JinjaFunction? Changing(string name) => !s_changing.Contains(name)
        ? null
        : new JinjaFunction(name, (context, _) => throw context.Error($"'{name}' would change a list or mapping, which chat templates may not: build a new one, with '+' for lists."));

    private static object? NoArguments(RenderContext context, Arguments arguments, string name, object? value)
    {
        arguments.Bind(context, name);
        return value;
    }

    private static Undefined NoAttribute(object? value, string name) => new($"{Operators.Describe(value)} has no attribute '{name}'");

    private static Undefined NoItem(RenderContext context, object? value, object? key) =>
        new($"{Operators.Describe(value)} has no item {(key is Undefined or JinjaFunction ? Operators.Describe(key) : Operators.Repr(context, key))}");

    private static int? At(int count, long index)
    {
        long at = index < 0 ? index + count : index;
        return at >= 0 && at < count ? (int)at : null;
    }

    private static IEnumerable<int> Indices(RenderContext context, int count, object? start, object? stop, object? step)
    {
        long by = Bound(context, step) ?? 1;
        if (by == 0)
        {
            throw context.Error("a slice's step cannot be 0.");
        }

        long low = by > 0 ? 0 : -1;
        long high = by > 0 ? count : count - 1;
        long from = Clamp(Bound(context, start), by > 0 ? low : high);
        long to = Clamp(Bound(context, stop), by > 0 ? high : low);
        return Walk();

        long Clamp(long? value, long standard) => value is not long v ? standard : Math.Clamp(v < 0 ? v + count : v, low, high);

        IEnumerable<int> Walk()
        {
            for (Int128 i = from; by > 0 ? i < to : i > to; i += by)
            {
                yield return (int)i;
            }
        }
    }

    private static long? Bound(RenderContext context, object? value) => value switch
    {
        null => null,
        long or bool => Operators.ToLong(value),
        _ => throw context.Error($"a slice's bounds are integers, not {Operators.Describe(value)}."),
    };
}

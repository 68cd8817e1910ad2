using System.Globalization;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>Jinja's filters that chat templates use. A name that is not here is refused when the template is read.</summary>
internal static class Filters
{
    private static readonly Dictionary<string, Func<RenderContext, object?, Arguments, object?>> s_filters = new(StringComparer.Ordinal)
    {
        ["abs"] = (c, v, a) => v is long or bool or double && Bare(c, a, "abs") ? (Operators.Compare(c, v, 0L) < 0 ? Operators.Negate(c, v) : v) : throw NoNumber(c, v, "abs"),
        ["capitalize"] = (c, v, a) => Text(c, v, a, "capitalize", StringMethods.Capitalize),
        ["count"] = (c, v, a) => Bare(c, a, "count") ? Operators.Length(c, v) : null,
        ["d"] = Default,
        ["default"] = Default,
        ["dictsort"] = SortMapping,
        ["first"] = (c, v, a) => Bare(c, a, "first") && Operators.Iterate(c, v) is [var first, ..] ? first : NothingIn(v, "first"),
        ["float"] = ToFloat,
        ["indent"] = Indent,
        ["int"] = ToInteger,
        ["items"] = (c, v, a) => Bare(c, a, "items") ? Items(c, v) : null,
        ["join"] = JoinFilter,
        ["last"] = (c, v, a) => Bare(c, a, "last") && Operators.Iterate(c, v) is [.., var last] ? last : NothingIn(v, "last"),
        ["length"] = (c, v, a) => Bare(c, a, "length") ? Operators.Length(c, v) : null,
        ["list"] = (c, v, a) => Bare(c, a, "list") ? new JinjaList(Operators.Iterate(c, v)) : null,
        ["lower"] = (c, v, a) => Text(c, v, a, "lower", text => text.Map(piece => piece.ToLowerInvariant())),
        ["map"] = Map,
        ["max"] = (c, v, a) => Extreme(c, v, a, "max", 1),
        ["min"] = (c, v, a) => Extreme(c, v, a, "min", -1),
        ["reject"] = (c, v, a) => Select(c, v, a, "reject", null, false),
        ["rejectattr"] = (c, v, a) => SelectByAttribute(c, v, a, "rejectattr", false),
        ["replace"] = Replace,
        ["reverse"] = Reverse,
        ["round"] = Round,
        ["select"] = (c, v, a) => Select(c, v, a, "select", null, true),
        ["selectattr"] = (c, v, a) => SelectByAttribute(c, v, a, "selectattr", true),
        ["sort"] = Sort,
        ["string"] = (c, v, a) => Text(c, v, a, "string", text => text),
        ["sum"] = Sum,
        ["title"] = (c, v, a) => Text(c, v, a, "title", text => StringMethods.Title(text, "-({[<", PythonText.IsSpace)),
        ["tojson"] = JsonText.Filter,
        ["trim"] = Trim,
        ["unique"] = Unique,
        ["upper"] = (c, v, a) => Text(c, v, a, "upper", text => text.Map(piece => piece.ToUpperInvariant())),
    };

    public static IEnumerable<string> Names => s_filters.Keys;

    public static bool Has(string name) => s_filters.ContainsKey(name);

    public static object? Apply(RenderContext context, string name, object? value, Arguments arguments) =>
        s_filters.TryGetValue(name, out Func<RenderContext, object?, Arguments, object?>? filter)
            ? filter(context, value, arguments)
            : throw context.Error($"the filter '{name}' is not known here; known are: {string.Join(", ", Names)}.");

    /// <summary>A mapping's items, as pairs.</summary>
    public static JinjaList Pairs(JinjaMapping mapping) =>
        new(mapping.Items.Select(item => (object?)new JinjaList([item.Key, item.Value], ListKind.Tuple)));

    public static TracedText Join(RenderContext context, IReadOnlyList<TracedText> texts, TracedText separator)
    {
        var pieces = new List<TracedText>(texts.Count * 2);
        foreach (TracedText text in texts)
        {
            if (pieces.Count > 0 && separator.Length > 0)
            {
                pieces.Add(separator);
            }

            pieces.Add(text);
        }

        context.Spend(pieces.Sum(piece => (long)piece.Length));
        return TracedText.Concat(pieces);
    }

    private static bool Bare(RenderContext context, Arguments arguments, string name)
    {
        arguments.Bind(context, name);
        return true;
    }

    private static TracedText Text(RenderContext context, object? value, Arguments arguments, string name, Func<TracedText, TracedText> change)
    {
        arguments.Bind(context, name);
        TracedText text = Operators.ToText(context, value);
        context.Spend(text.Length);
        return change(text);
    }

    private static Undefined NothingIn(object? value, string name) => new($"{Operators.Describe(value)} is empty, so it has no {name} item");

    private static ChatTemplateException NoNumber(RenderContext context, object? value, string name) =>
        context.Error($"{name} needs a number and was given {Operators.Describe(value)}.");

    private static object? Or(object? value, object? standard) => value is Arguments.Missing ? standard : value;

    private static object? Default(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "default", "default_value=", "boolean=");
        bool replaces = value is Undefined || (Operators.IsTrue(Or(values[1], false)) && !Operators.IsTrue(value));
        return replaces ? Or(values[0], TracedText.Empty) : value;
    }

    private static JinjaList Items(RenderContext context, object? value) => value switch
    {
        Undefined => new JinjaList([], ListKind.Generator),
        JinjaMapping mapping => new JinjaList(Pairs(mapping).Items, ListKind.Generator),
        _ => throw context.Error($"items needs a mapping and was given {Operators.Describe(value)}."),
    };

    private static TracedText Trim(RenderContext context, object? value, Arguments arguments)
    {
        object? characters = Or(arguments.Bind(context, "trim", "chars=")[0], null);
        return StringMethods.Strip(Operators.ToText(context, value), characters is null ? null : StringMethods.Text(context, characters, "trim").Value, true, true);
    }

    private static TracedText Replace(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "replace", "old", "new", "count=");
        return StringMethods.Replace(context, Operators.ToText(context, value), Operators.ToText(context, values[0]), Operators.ToText(context, values[1]), values[2] is long count ? count : -1);
    }

    private static TracedText Indent(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "indent", "width=", "first=", "blank=");
        TracedText width = Or(values[0], 4L) switch
        {
            long n => TracedText.Trusted(new string(' ', (int)Math.Clamp(n, 0, 1024))),
            var text => StringMethods.Text(context, text, "indent"),
        };
        var pieces = new List<TracedText>();
        TracedText whole = Operators.ToText(context, value);
        int start = 0;
        for (int line = 0; start <= whole.Length; line++)
        {
            int end = whole.Value.IndexOf('\n', start);
            int next = end < 0 ? whole.Length : end + 1;
            bool isBlank = next - start - (end < 0 ? 0 : 1) == 0;
            if (line == 0 ? Operators.IsTrue(Or(values[1], false)) : !isBlank || Operators.IsTrue(Or(values[2], false)))
            {
                pieces.Add(width);
                context.Spend(width.Length);
            }

            pieces.Add(whole.Substring(start, next - start));
            start = end < 0 ? whole.Length + 1 : next;
        }

        return TracedText.Concat(pieces);
    }

    private static TracedText JoinFilter(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "join", "d=", "attribute=");
        IEnumerable<object?> items = Operators.Iterate(context, value);
        if (Or(values[1], null) is object attribute)
        {
            items = items.Select(item => Members.Path(context, item, attribute));
        }

        return Join(context, [.. items.Select(item => Operators.ToText(context, item))], Operators.ToText(context, Or(values[0], TracedText.Empty)));
    }

    private static JinjaList Map(RenderContext context, object? value, Arguments arguments)
    {
        IReadOnlyList<object?> items = Operators.Iterate(context, value);
        if (arguments.Positional.Count == 0)
        {
            object?[] values = arguments.Bind(context, "map", "attribute", "default=");
            return Generate(items.Select(item => Members.Path(context, item, values[0]) is var found && found is Undefined ? Or(values[1], found) : found));
        }

        string filter = StringMethods.Text(context, arguments.Positional[0], "map").Value;
        return Generate(items.Select(item => Counted(context, () => Apply(context, filter, item, arguments.Rest(1)))));
    }

    private static JinjaList SelectByAttribute(RenderContext context, object? value, Arguments arguments, string name, bool keep) =>
        arguments.Positional.Count == 0
            ? throw context.Error($"{name} needs the name of an attribute.")
            : Select(context, value, arguments.Rest(1), name, arguments.Positional[0], keep);

    private static JinjaList Select(RenderContext context, object? value, Arguments arguments, string name, object? attribute, bool keep)
    {
        string? test = arguments.Positional.Count == 0 ? null : StringMethods.Text(context, arguments.Positional[0], name).Value;
        return Generate(Operators.Iterate(context, value).Where(item => Counted(context, () =>
        {
            object? tested = attribute is null ? item : Members.Path(context, item, attribute);
            return (test is null ? Operators.IsTrue(tested) : ValueTests.Apply(context, test, tested, arguments.Rest(1))) == keep;
        })));
    }

    private static T Counted<T>(RenderContext context, Func<T> work)
    {
        context.Step(context.Line);
        return work();
    }

    private static JinjaList Generate(IEnumerable<object?> items) => new(items, ListKind.Generator);

    private static object? Reverse(RenderContext context, object? value, Arguments arguments)
    {
        arguments.Bind(context, "reverse");
        IEnumerable<object?> reversed = Operators.Iterate(context, value).Reverse();
        return value is TracedText ? TracedText.Concat(reversed.Cast<TracedText>()) : Generate(reversed);
    }

    private static object? Round(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "round", "precision=", "method=");
        if (value is not (long or double) || Or(values[0], 0L) is not (>= 0L and <= 15L and long digits) || values[1] is not Arguments.Missing)
        {
            throw context.Error("round takes a number and a precision of 0 to 15 here, and no method.");
        }

        return value is double number ? Math.Round(number, (int)digits, MidpointRounding.ToEven) : value;
    }

    private static object? ToInteger(RenderContext context, object? value, Arguments arguments)
    {
        object? standard = Or(arguments.Bind(context, "int", "default=")[0], 0L);
        return value switch
        {
            long or bool => Operators.ToLong(value),
            double number when Math.Abs(number) < 9e18 => (long)number,
            TracedText text when long.TryParse(text.Value.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long parsed) => parsed,
            TracedText text when double.TryParse(text.Value, NumberStyles.Float, CultureInfo.InvariantCulture, out double parsed) && Math.Abs(parsed) < 9e18 => (long)parsed,
            _ => standard,
        };
    }

    private static object? ToFloat(RenderContext context, object? value, Arguments arguments)
    {
        object? standard = Or(arguments.Bind(context, "float", "default=")[0], 0.0);
        return value switch
        {
            long or bool => (double)Operators.ToLong(value),
            double => value,
            TracedText text when double.TryParse(text.Value, NumberStyles.Float, CultureInfo.InvariantCulture, out double parsed) => parsed,
            _ => standard,
        };
    }

    private static object? Sum(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "sum", "attribute=", "start=");
        object? attribute = Or(values[0], null);
        return Operators.Iterate(context, value).Aggregate(
            Or(values[1], 0L),
            (total, item) => Operators.Add(context, total, attribute is null ? item : Members.Path(context, item, attribute)));
    }

    private static object? Extreme(RenderContext context, object? value, Arguments arguments, string name, int sign)
    {
        Func<object?, object?> key = Key(context, arguments.Bind(context, name, "case_sensitive=", "attribute="));
        IReadOnlyList<object?> items = Operators.Iterate(context, value);
        return items.Count == 0
            ? NothingIn(value, name)
            : items.Aggregate((best, item) => Operators.Compare(context, key(item), key(best)) * sign > 0 ? item : best);
    }

    private static JinjaList Sort(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "sort", "reverse=", "case_sensitive=", "attribute=");
        return new JinjaList(Ordered(context, Operators.Iterate(context, value), Key(context, values[1..]), Operators.IsTrue(Or(values[0], false))));
    }

    private static JinjaList SortMapping(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "dictsort", "case_sensitive=", "by=", "reverse=");
        if (value is not JinjaMapping mapping || Or(values[1], null) is not (null or TracedText { Value: "key" or "value" }))
        {
            throw context.Error($"dictsort takes a mapping and by='key' or by='value', and was given {Operators.Describe(value)}.");
        }

        long position = values[1] is TracedText { Value: "value" } ? 1 : 0;
        return new JinjaList(Ordered(context, Pairs(mapping).Items, Key(context, [values[0], position]), Operators.IsTrue(Or(values[2], false))));
    }

    private static JinjaList Unique(RenderContext context, object? value, Arguments arguments)
    {
        Func<object?, object?> key = Key(context, arguments.Bind(context, "unique", "case_sensitive=", "attribute="));
        var seen = new JinjaMapping();
        return Generate(Operators.Iterate(context, value).Where(item =>
        {
            object name = key(item) ?? s_none;
            bool isNew = !seen.TryGet(name, out _);
            seen.Set(name, null);
            return isNew;
        }));
    }

    private static readonly object s_none = new();

    private static IEnumerable<object?> Ordered(RenderContext context, IEnumerable<object?> items, Func<object?, object?> key, bool descending)
    {
        var comparer = Comparer<object?>.Create((a, b) => Counted(context, () => Operators.Compare(context, a, b)));
        try
        {
            return [.. descending ? items.OrderByDescending(key, comparer) : items.OrderBy(key, comparer)];
        }
        catch (InvalidOperationException error) when (error.InnerException is ChatTemplateException inner)
        {
            throw inner;
        }
    }

    /// <summary>What sort and its kin compare: the item or its attribute, in lower case unless case matters.</summary>
    private static Func<object?, object?> Key(RenderContext context, object?[] values)
    {
        bool caseSensitive = Operators.IsTrue(Or(values[0], false));
        object? attribute = Or(values[1], null);
        return item =>
        {
            object? key = attribute is null ? item : Members.Path(context, item, attribute);
            return key is TracedText text && !caseSensitive ? text.Map(piece => piece.ToLowerInvariant()) : key;
        };
    }
}

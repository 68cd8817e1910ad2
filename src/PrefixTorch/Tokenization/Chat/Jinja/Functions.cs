using System.Globalization;
using System.Text;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>The functions that transformers and Jinja give to every chat template.</summary>
internal static class Functions
{
    public static void AddTo(Scope scope)
    {
        Add(scope, "range", Range);
        Add(scope, "namespace", Namespace);
        Add(scope, "dict", Mapping);
        Add(scope, "raise_exception", RaiseException);
        Add(scope, "strftime_now", (context, arguments) =>
            TracedText.Untrusted(FormatTime(context, StringMethods.Text(context, arguments.Bind(context, "strftime_now", "format")[0], "strftime_now").Value)));
    }

    private static void Add(Scope scope, string name, Func<RenderContext, Arguments, object?> invoke) => scope.Set(name, new JinjaFunction(name, invoke));

    private static JinjaList Range(RenderContext context, Arguments arguments)
    {
        if (arguments.Named.Count > 0 || arguments.Positional.Count is 0 or > 3 || arguments.Positional.Any(value => value is not long))
        {
            throw context.Error("range takes one to three integers.");
        }

        long[] bounds = [.. arguments.Positional.Cast<long>()];
        (long start, long stop) = bounds.Length == 1 ? (0, bounds[0]) : (bounds[0], bounds[1]);
        long step = bounds.Length == 3 ? bounds[2] : 1;
        if (step == 0)
        {
            throw context.Error("range cannot go in steps of 0.");
        }

        Int128 span = step > 0 ? (Int128)stop - start : (Int128)start - stop;
        Int128 width = Int128.Abs(step);
        long count = span <= 0 ? 0 : (long)Int128.Min((span + width - 1) / width, long.MaxValue / 16);
        context.Spend(count * 8);
        return new JinjaList(Enumerable.Range(0, (int)count).Select(i => (object?)(start + i * step)));
    }

    private static JinjaNamespace Namespace(RenderContext context, Arguments arguments)
    {
        var names = new JinjaNamespace();
        foreach ((string name, object? value) in Members(context, arguments, "namespace"))
        {
            names.Attributes[name] = value;
        }

        return names;
    }

    private static JinjaMapping Mapping(RenderContext context, Arguments arguments)
    {
        var mapping = new JinjaMapping();
        foreach ((string name, object? value) in Members(context, arguments, "dict"))
        {
            mapping.Set(TracedText.Untrusted(name), value);
        }

        return mapping;
    }

    private static IEnumerable<KeyValuePair<string, object?>> Members(RenderContext context, Arguments arguments, string callee)
    {
        if (arguments.Positional.Count > 1 || (arguments.Positional.Count == 1 && arguments.Positional[0] is not JinjaMapping))
        {
            throw context.Error($"{callee} takes named arguments, and at most one mapping before them.");
        }

        IEnumerable<KeyValuePair<string, object?>> first = arguments.Positional is [JinjaMapping mapping]
            ? mapping.Items.Select(item => KeyValuePair.Create(StringMethods.Text(context, item.Key, callee).Value, item.Value))
            : [];
        return first.Concat(arguments.Named);
    }

    private static object? RaiseException(RenderContext context, Arguments arguments)
    {
        object? message = arguments.Bind(context, "raise_exception", "message")[0];
        throw context.Error($"the template refuses this conversation: {Operators.ToText(context, message)}");
    }

    private static string FormatTime(RenderContext context, string format)
    {
        var text = new StringBuilder();
        for (int i = 0; i < format.Length; i++)
        {
            if (format[i] != '%')
            {
                text.Append(format[i]);
                continue;
            }

            bool isShort = ++i < format.Length && format[i] == '-';
            string code = isShort && i + 1 < format.Length ? format.Substring(i++, 2) : i < format.Length ? format[i].ToString() : "";
            text.Append(FormatPart(context, code));
        }

        return text.ToString();
    }

    private static string FormatPart(RenderContext context, string code)
    {
        string? pattern = code switch
        {
            "%" => "'%'",
            "d" => "dd",
            "-d" => "%d",
            "m" => "MM",
            "-m" => "%M",
            "y" => "yy",
            "Y" => "yyyy",
            "b" => "MMM",
            "B" => "MMMM",
            "a" => "ddd",
            "A" => "dddd",
            "H" => "HH",
            "-H" => "%H",
            "I" => "hh",
            "-I" => "%h",
            "M" => "mm",
            "-M" => "%m",
            "S" => "ss",
            "p" => "tt",
            "F" => "yyyy-MM-dd",
            "T" => "HH:mm:ss",
            _ => null,
        };
        return pattern is not null
            ? context.Now.ToString(pattern, CultureInfo.InvariantCulture)
            : code == "j" ? context.Now.DayOfYear.ToString("000", CultureInfo.InvariantCulture)
            : throw context.Error($"strftime_now does not know '%{code}'.");
    }
}

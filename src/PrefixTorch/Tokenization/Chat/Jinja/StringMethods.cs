using System.Buffers;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>Python's methods of strings, as far as chat templates use them; the others are refused by name.</summary>
internal static class StringMethods
{
    private static readonly Dictionary<string, Func<RenderContext, TracedText, Arguments, object?>> s_methods = new(StringComparer.Ordinal)
    {
        ["strip"] = (c, s, a) => Strip(c, s, a, "strip", true, true),
        ["lstrip"] = (c, s, a) => Strip(c, s, a, "lstrip", true, false),
        ["rstrip"] = (c, s, a) => Strip(c, s, a, "rstrip", false, true),
        ["upper"] = (c, s, a) => Plain(c, s, a, "upper", text => text.ToUpperInvariant()),
        ["lower"] = (c, s, a) => Plain(c, s, a, "lower", text => text.ToLowerInvariant()),
        ["title"] = (c, s, a) => Recase(c, s, a, "title", text => Title(text, "", each => !char.IsLetter(each))),
        ["capitalize"] = (c, s, a) => Recase(c, s, a, "capitalize", Capitalize),
        ["startswith"] = (c, s, a) => StartsOrEnds(c, s, a, "startswith"),
        ["endswith"] = (c, s, a) => StartsOrEnds(c, s, a, "endswith"),
        ["replace"] = ReplaceMethod,
        ["split"] = (c, s, a) => Split(c, s, a, "split", false),
        ["rsplit"] = (c, s, a) => Split(c, s, a, "rsplit", true),
        ["splitlines"] = SplitLines,
        ["join"] = JoinMethod,
        ["find"] = (c, s, a) => Find(c, s, a, "find", false),
        ["rfind"] = (c, s, a) => Find(c, s, a, "rfind", true),
        ["count"] = (c, s, a) => (long)Occurrences(s.Value, Text(c, a.Bind(c, "count", "sub")[0], "count").Value).Count(),
        ["removeprefix"] = (c, s, a) => RemovePrefix(s, Text(c, a.Bind(c, "removeprefix", "prefix")[0], "removeprefix")),
        ["removesuffix"] = (c, s, a) => RemoveSuffix(s, Text(c, a.Bind(c, "removesuffix", "suffix")[0], "removesuffix")),
        ["isdigit"] = (c, s, a) => All(c, s, a, "isdigit", char.IsDigit),
        ["isalpha"] = (c, s, a) => All(c, s, a, "isalpha", char.IsLetter),
        ["isalnum"] = (c, s, a) => All(c, s, a, "isalnum", char.IsLetterOrDigit),
        ["isspace"] = (c, s, a) => All(c, s, a, "isspace", PythonText.IsSpace),
    };

    private static readonly HashSet<string> s_unknown =
    [
        "casefold", "center", "encode", "expandtabs", "format", "format_map", "index", "isascii", "isdecimal", "isidentifier", "islower",
        "isnumeric", "isprintable", "istitle", "isupper", "ljust", "maketrans", "partition", "rindex", "rjust", "rpartition", "swapcase",
        "translate", "zfill",
    ];

    private static readonly SearchValues<char> s_lineEnds = SearchValues.Create("\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029");

    /// <summary>The method of that name, or null where Python has none either.</summary>
    public static JinjaFunction? Find(RenderContext context, TracedText text, string name)
    {
        if (s_unknown.Contains(name))
        {
            throw context.Error($"the string method '{name}' is not known here; known are: {string.Join(", ", s_methods.Keys)}.");
        }

        return s_methods.TryGetValue(name, out Func<RenderContext, TracedText, Arguments, object?>? method)
            ? new JinjaFunction(name, (caller, arguments) =>
            {
                caller.Spend(text.Length);
                return method(caller, text, arguments);
            })
            : null;
    }

    public static TracedText Strip(TracedText text, string? characters, bool start, bool end)
    {
        int from = 0;
        int to = text.Length;
        while (start && from < to && Goes(text.Value[from]))
        {
            from++;
        }

        while (end && to > from && Goes(text.Value[to - 1]))
        {
            to--;
        }

        return text.Substring(from, to - from);

        bool Goes(char c) => characters is null ? PythonText.IsSpace(c) : characters.Contains(c);
    }

    public static TracedText Replace(RenderContext context, TracedText text, TracedText old, TracedText replacement, long count)
    {
        var pieces = new List<TracedText>();
        int start = 0;
        foreach (int at in old.Length == 0 ? Enumerable.Range(0, text.Length + 1) : Occurrences(text.Value, old.Value))
        {
            if (count-- == 0)
            {
                break;
            }

            context.Spend(replacement.Length);
            pieces.Add(text.Substring(start, at - start));
            pieces.Add(replacement);
            start = at + old.Length;
        }

        pieces.Add(text.Substring(start));
        return TracedText.Concat(pieces);
    }

    /// <summary>Each word with a capital; words begin after <paramref name="marks"/> or what <paramref name="divides"/>.</summary>
    /// <remarks>Python's method and Jinja's filter disagree about where (it's: It'S or It's).</remarks>
    public static TracedText Title(TracedText text, string marks, Func<char, bool> divides)
    {
        bool inWord = false;
        return text.Map(piece => string.Concat(piece.Select(c =>
        {
            char changed = inWord ? char.ToLowerInvariant(c) : char.ToUpperInvariant(c);
            inWord = !divides(c) && !marks.Contains(c);
            return changed;
        })));
    }

    public static TracedText Capitalize(TracedText text)
    {
        bool first = true;
        return text.Map(piece => string.Concat(piece.Select(c =>
        {
            char changed = first ? char.ToUpperInvariant(c) : char.ToLowerInvariant(c);
            first = false;
            return changed;
        })));
    }

    public static TracedText Text(RenderContext context, object? value, string callee) =>
        value as TracedText ?? throw context.Error($"{callee} needs a string and was given {Operators.Describe(value)}.");

    private static TracedText Strip(RenderContext context, TracedText text, Arguments arguments, string name, bool start, bool end)
    {
        object? characters = arguments.Bind(context, name, "chars=")[0];
        return Strip(text, characters is null or Arguments.Missing ? null : Text(context, characters, name).Value, start, end);
    }

    private static TracedText Plain(RenderContext context, TracedText text, Arguments arguments, string name, Func<string, string> change)
    {
        arguments.Bind(context, name);
        return text.Map(change);
    }

    private static TracedText Recase(RenderContext context, TracedText text, Arguments arguments, string name, Func<TracedText, TracedText> change)
    {
        arguments.Bind(context, name);
        return change(text);
    }

    private static bool All(RenderContext context, TracedText text, Arguments arguments, string name, Func<char, bool> test)
    {
        arguments.Bind(context, name);
        return text.Length > 0 && text.Value.All(test);
    }

    private static bool StartsOrEnds(RenderContext context, TracedText text, Arguments arguments, string name)
    {
        object? what = arguments.Bind(context, name, "prefix")[0];
        IEnumerable<object?> candidates = what is JinjaList { Kind: ListKind.Tuple } tuple ? tuple.Items : [what];
        return candidates.Select(each => Text(context, each, name).Value).Any(each =>
            name == "startswith" ? text.Value.StartsWith(each, StringComparison.Ordinal) : text.Value.EndsWith(each, StringComparison.Ordinal));
    }

    private static TracedText ReplaceMethod(RenderContext context, TracedText text, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "replace", "old", "new", "count=");
        return Replace(context, text, Text(context, values[0], "replace"), Text(context, values[1], "replace"), Count(context, values[2], "replace"));
    }

    private static long Count(RenderContext context, object? value, string callee) => value switch
    {
        Arguments.Missing => -1,
        long count => count,
        _ => throw context.Error($"{callee} counts with an integer, not {Operators.Describe(value)}."),
    };

    private static JinjaList Split(RenderContext context, TracedText text, Arguments arguments, string name, bool fromRight)
    {
        object?[] values = arguments.Bind(context, name, "sep=", "maxsplit=");
        long most = Count(context, values[1], name);
        most = most < 0 ? long.MaxValue : most;
        List<(int Start, int End)> gaps = values[0] is null or Arguments.Missing
            ? SpaceGaps(text.Value)
            : [.. Occurrences(text.Value, Separator(context, values[0], name)).Select(at => (at, at + ((TracedText)values[0]!).Length))];
        if (values[0] is null or Arguments.Missing)
        {
            return SplitAtSpace(text, gaps, most, fromRight);
        }

        int take = (int)Math.Min(most, gaps.Count);
        return Cut(text, fromRight ? gaps[^take..] : gaps[..take]);
    }

    // Without a separator, runs of whitespace divide, and those at the ends do not count.
    private static JinjaList SplitAtSpace(TracedText text, List<(int Start, int End)> gaps, long most, bool fromRight)
    {
        List<(int Start, int End)> inner = [.. gaps.Where(gap => gap.Start > 0 && gap.End < text.Length)];
        int take = (int)Math.Min(most, inner.Count);
        TracedText trimmed = Strip(text, null, true, true);
        if (trimmed.Length == 0)
        {
            return new JinjaList([]);
        }

        bool keepsStart = fromRight && take < inner.Count;
        bool keepsEnd = !fromRight && take < inner.Count;
        int offset = keepsStart ? 0 : PythonText.LeadingSpace(text.Value);
        TracedText body = Strip(text, null, !keepsStart, !keepsEnd);
        List<(int, int)> chosen = [.. (fromRight ? inner[^take..] : inner[..take]).Select(gap => (gap.Start - offset, gap.End - offset))];
        return Cut(body, chosen);
    }

    private static List<(int Start, int End)> SpaceGaps(string text)
    {
        var gaps = new List<(int, int)>();
        for (int at = 0; at < text.Length; at++)
        {
            int start = at;
            while (at < text.Length && PythonText.IsSpace(text[at]))
            {
                at++;
            }

            if (at > start)
            {
                gaps.Add((start, at));
            }
        }

        return gaps;
    }

    private static JinjaList Cut(TracedText text, List<(int Start, int End)> gaps)
    {
        var pieces = new List<object?>(gaps.Count + 1);
        int start = 0;
        foreach ((int from, int to) in gaps)
        {
            pieces.Add(text.Substring(start, from - start));
            start = to;
        }

        pieces.Add(text.Substring(start));
        return new JinjaList(pieces);
    }

    private static string Separator(RenderContext context, object? value, string callee)
    {
        TracedText separator = Text(context, value, callee);
        return separator.Length > 0 ? separator.Value : throw context.Error($"{callee} cannot split at an empty string.");
    }

    private static JinjaList SplitLines(RenderContext context, TracedText text, Arguments arguments)
    {
        object? keep = arguments.Bind(context, "splitlines", "keepends=")[0];
        bool keepsEnds = keep is not Arguments.Missing && Operators.IsTrue(keep);
        var lines = new List<object?>();
        for (int start = 0; start < text.Length;)
        {
            int end = text.Value.AsSpan(start).IndexOfAny(s_lineEnds);
            int length = end < 0 ? text.Length - start : end;
            int width = end < 0 ? 0 : text.Value.AsSpan(start + length).StartsWith("\r\n") ? 2 : 1;
            lines.Add(text.Substring(start, length + (keepsEnds ? width : 0)));
            start += length + width;
        }

        return new JinjaList(lines);
    }

    private static TracedText JoinMethod(RenderContext context, TracedText text, Arguments arguments)
    {
        IReadOnlyList<object?> items = Operators.Iterate(context, arguments.Bind(context, "join", "iterable")[0]);
        return Filters.Join(context, [.. items.Select(item => Text(context, item, "join"))], text);
    }

    private static long Find(RenderContext context, TracedText text, Arguments arguments, string name, bool last)
    {
        string part = Text(context, arguments.Bind(context, name, "sub")[0], name).Value;
        int at = last ? text.Value.LastIndexOf(part, StringComparison.Ordinal) : text.Value.IndexOf(part, StringComparison.Ordinal);
        return at < 0 ? -1 : PythonText.Length(text.Value[..at]);
    }

    private static TracedText RemovePrefix(TracedText text, TracedText prefix) =>
        text.Value.StartsWith(prefix.Value, StringComparison.Ordinal) ? text.Substring(prefix.Length) : text;

    private static TracedText RemoveSuffix(TracedText text, TracedText suffix) =>
        text.Value.EndsWith(suffix.Value, StringComparison.Ordinal) ? text.Substring(0, text.Length - suffix.Length) : text;

    // Not overlapping, from the left. (rsplit's choice differs only where a separator overlaps itself.)
    private static IEnumerable<int> Occurrences(string text, string part)
    {
        if (part.Length == 0)
        {
            yield break;
        }

        for (int at = text.IndexOf(part, StringComparison.Ordinal); at >= 0; at = text.IndexOf(part, at + part.Length, StringComparison.Ordinal))
        {
            yield return at;
        }
    }
}

using System.Numerics;
using System.Runtime.CompilerServices;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>Truth, equality, order, arithmetic and text of values, as Python has them.</summary>
internal static class Operators
{
    public static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool b => b,
        long n => n != 0,
        BigInteger n => !n.IsZero,
        double d => d != 0,
        TracedText text => text.Length > 0,
        JinjaList list => list.Kind == ListKind.Generator || list.Items.Count > 0,
        JinjaMapping mapping => mapping.Count > 0,
        _ => true,
    };

    public static bool AreEqual(object? left, object? right)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        return AreEqualHere(left, right);
    }

    private static bool AreEqualHere(object? left, object? right) => (left, right) switch
    {
        (null, null) or (Undefined, Undefined) => true,
        (TracedText a, TracedText b) => a.Equals(b),
        (JinjaList a, JinjaList b) when a.Kind == b.Kind && a.Kind != ListKind.Generator =>
            a.Items.Count == b.Items.Count && a.Items.Zip(b.Items).All(pair => AreEqual(pair.First, pair.Second)),
        (JinjaMapping a, JinjaMapping b) =>
            a.Count == b.Count && a.Items.All(item => b.TryGet(item.Key, out object? other) && AreEqual(item.Value, other)),
        (BigInteger a, BigInteger b) => a == b,
        _ when IsNumber(left) && IsNumber(right) => left is double || right is double ? ToDouble(left) == ToDouble(right) : ToBig(left) == ToBig(right),
        _ => ReferenceEquals(left, right),
    };

    public static int Compare(RenderContext context, object? left, object? right) => (left, right) switch
    {
        (TracedText a, TracedText b) => a.CompareTo(b),
        (JinjaList a, JinjaList b) when a.Kind == b.Kind => CompareLists(context, a, b),
        _ when IsNumber(left) && IsNumber(right) => ToDouble(left).CompareTo(ToDouble(right)),
        _ => throw context.Error($"{Describe(left)} and {Describe(right)} have no order."),
    };

    /// <summary>Python's <c>in</c>.</summary>
    public static bool Contains(RenderContext context, object? container, object? item) => container switch
    {
        TracedText text => item is TracedText part
            ? text.Value.Contains(part.Value, StringComparison.Ordinal)
            : throw context.Error($"'in' asks whether a string holds {Describe(item)}: only a string can be in a string."),
        JinjaMapping mapping => mapping.TryGet(item, out _),
        JinjaList list => list.Read().Any(each => AreEqual(each, item)),
        Undefined => false,
        JinjaNamespace names => item is TracedText name && names.Attributes.ContainsKey(name.Value),
        _ => throw context.Error($"'in' needs a string, list or mapping on its right and finds {Describe(container)}."),
    };

    public static object? Add(RenderContext context, object? left, object? right) => (left, right) switch
    {
        (TracedText a, TracedText b) => Join(context, a, b),
        (JinjaList a, JinjaList b) when a.Kind == b.Kind && a.Kind != ListKind.Generator => Join(context, a, b),
        _ => Arithmetic(context, "+", left, right),
    };

    public static TracedText Join(RenderContext context, params ReadOnlySpan<TracedText> texts)
    {
        foreach (TracedText text in texts)
        {
            context.Spend(text.Length);
        }

        return TracedText.Concat(texts.ToArray());
    }

    private static JinjaList Join(RenderContext context, JinjaList left, JinjaList right)
    {
        context.Spend(8L * (left.Items.Count + right.Items.Count));
        return new JinjaList(left.Items.Concat(right.Items), left.Kind);
    }

    public static object? Arithmetic(RenderContext context, string op, object? left, object? right)
    {
        if (op == "*" && left is TracedText or JinjaList ^ right is TracedText or JinjaList)
        {
            return Repeat(context, left, right);
        }

        if (!IsNumber(left) || !IsNumber(right) || left is BigInteger || right is BigInteger)
        {
            throw context.Error(left is Undefined u ? u.Reason + "." : right is Undefined v ? v.Reason + "." : $"'{op}' does not go with {Describe(left)} and {Describe(right)}.");
        }

        if (op is "/" or "//" or "%" && ToDouble(right) == 0)
        {
            throw context.Error($"'{op}' divides by zero.");
        }

        return left is double || right is double || op == "/" || (op == "**" && ToDouble(right) < 0)
            ? (object)ArithmeticOfFloats(op, ToDouble(left), ToDouble(right))
            : ArithmeticOfIntegers(context, op, ToLong(left), ToLong(right));
    }

    public static object? Negate(RenderContext context, object? value) => value switch
    {
        double d => -d,
        bool or long => Arithmetic(context, "-", 0L, value),
        Undefined undefined => throw context.Error(undefined.Reason + "."),
        _ => throw context.Error($"'-' does not go with {Describe(value)}."),
    };

    /// <summary>Python's <c>str()</c>. A string stays whose it is; the text of anything else counts as the caller's.</summary>
    public static TracedText ToText(RenderContext context, object? value)
    {
        if (value is TracedText text)
        {
            return text;
        }

        return value is Undefined ? TracedText.Empty : TracedText.Untrusted(Repr(context, value));
    }

    /// <summary>Python's <c>repr()</c>.</summary>
    public static string Repr(RenderContext context, object? value)
    {
        context.Step(context.Line);
        string text = value switch
        {
            null => "None",
            bool b => b ? "True" : "False",
            long or BigInteger => value.ToString()!,
            double d => PythonText.Float(d),
            TracedText s => PythonText.Quote(s.Value),
            Undefined => "Undefined",
            JinjaList { Kind: ListKind.List } list => "[" + string.Join(", ", list.Items.Select(item => Repr(context, item))) + "]",
            JinjaList { Kind: ListKind.Tuple } list => "(" + string.Join(", ", list.Items.Select(item => Repr(context, item))) + (list.Items.Count == 1 ? ",)" : ")"),
            JinjaMapping mapping => "{" + string.Join(", ", mapping.Items.Select(item => Repr(context, item.Key) + ": " + Repr(context, item.Value))) + "}",
            _ => throw context.Error($"{Describe(value)} cannot be printed; make it a list with '| list'."),
        };
        context.Spend(text.Length);
        return text;
    }

    /// <summary>What a loop goes through.</summary>
    public static IReadOnlyList<object?> Iterate(RenderContext context, object? value) => value switch
    {
        JinjaList list => list.Read(),
        JinjaMapping mapping => [.. mapping.Items.Select(item => item.Key)],
        TracedText text => Characters(context, text),
        Undefined => [],
        _ => throw context.Error($"{Describe(value)} cannot be gone through: it is no list, mapping or string."),
    };

    public static long Length(RenderContext context, object? value) => value switch
    {
        TracedText text => PythonText.Length(text.Value),
        JinjaList list when list.Kind != ListKind.Generator => list.Items.Count,
        JinjaMapping mapping => mapping.Count,
        Undefined => 0,
        JinjaList => throw context.Error("what map, select or reject give has no length; make it a list with '| list'."),
        _ => throw context.Error($"{Describe(value)} has no length."),
    };

    public static bool IsNumber(object? value) => value is bool or long or double or BigInteger;

    public static long ToLong(object? value) => value is bool b ? (b ? 1 : 0) : (long)value!;

    /// <summary>How an error calls a value: its Python type.</summary>
    public static string Describe(object? value) => value switch
    {
        null => "None",
        bool => "a bool",
        long or BigInteger => "an int",
        double => "a float",
        TracedText => "a string",
        JinjaList { Kind: ListKind.Generator } => "a generator",
        JinjaList list => list.Kind == ListKind.Tuple ? "a tuple" : "a list",
        JinjaMapping => "a mapping",
        Undefined undefined => $"something undefined ({undefined.Reason})",
        JinjaFunction function => $"the function '{function.Name}'",
        _ => "a namespace",
    };

    private static double ToDouble(object? value) => value switch
    {
        double d => d,
        BigInteger n => (double)n,
        _ => ToLong(value),
    };

    private static BigInteger ToBig(object? value) => value is BigInteger n ? n : ToLong(value);

    private static double ArithmeticOfFloats(string op, double a, double b) => op switch
    {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "//" => Math.Floor(a / b),
        "%" => a - b * Math.Floor(a / b),
        _ => Math.Pow(a, b),
    };

    private static long ArithmeticOfIntegers(RenderContext context, string op, long a, long b)
    {
        try
        {
            checked
            {
                long quotient = op is "//" or "%" ? a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0) : 0;
                return op switch
                {
                    "+" => a + b,
                    "-" => a - b,
                    "*" => a * b,
                    "//" => quotient,
                    "%" => a - quotient * b,
                    _ => (long)BigInteger.Pow(a, (int)Math.Min(b, 4096 + b % 2)),
                };
            }
        }
        catch (OverflowException)
        {
            throw context.Error($"{a} {op} {b} does not fit 64 bits.");
        }
    }

    private static object? Repeat(RenderContext context, object? left, object? right)
    {
        (object? whole, object? times) = left is TracedText or JinjaList ? (left, right) : (right, left);
        if (times is not (long or bool))
        {
            throw context.Error($"'*' does not go with {Describe(left)} and {Describe(right)}.");
        }

        long count = Math.Max(0, ToLong(times));
        long size = whole is TracedText text ? text.Length : ((JinjaList)whole!).Items.Count;
        int weight = whole is TracedText ? 1 : 8;
        context.Spend((long)Int128.Min((Int128)size * count * weight, long.MaxValue / 2));
        return whole is TracedText repeated
            ? size == 0 ? TracedText.Empty : TracedText.Concat(Enumerable.Repeat(repeated, (int)count))
            : new JinjaList(size == 0 ? [] : Enumerable.Repeat(((JinjaList)whole!).Items, (int)count).SelectMany(items => items), ((JinjaList)whole!).Kind);
    }

    private static int CompareLists(RenderContext context, JinjaList left, JinjaList right)
    {
        context.Step(context.Line);
        foreach ((object? a, object? b) in left.Items.Zip(right.Items))
        {
            if (!AreEqual(a, b))
            {
                return Compare(context, a, b);
            }
        }

        return left.Items.Count.CompareTo(right.Items.Count);
    }

    private static List<object?> Characters(RenderContext context, TracedText text)
    {
        context.Spend(text.Length);
        int[] starts = PythonText.CodePoints(text.Value);
        var characters = new List<object?>(starts.Length - 1);
        for (int i = 0; i + 1 < starts.Length; i++)
        {
            characters.Add(text.Substring(starts[i], starts[i + 1] - starts[i]));
        }

        return characters;
    }
}

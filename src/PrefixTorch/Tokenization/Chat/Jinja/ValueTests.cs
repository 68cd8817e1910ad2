namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>Jinja's tests (<c>is defined</c>). A name that is not here is refused when the template is read.</summary>
internal static class ValueTests
{
    private static readonly Dictionary<string, Func<RenderContext, object?, Arguments, bool>> s_tests = new(StringComparer.Ordinal)
    {
        ["boolean"] = (_, v, _) => v is bool,
        ["callable"] = (_, v, _) => v is JinjaFunction,
        ["defined"] = (_, v, _) => v is not Undefined,
        ["divisibleby"] = (c, v, a) => Remainder(c, v, Other(c, a, "divisibleby")) == 0,
        ["even"] = (c, v, _) => Remainder(c, v, 2L) == 0,
        ["false"] = (_, v, _) => v is false,
        ["float"] = (_, v, _) => v is double,
        ["in"] = (c, v, a) => Operators.Contains(c, Other(c, a, "in"), v),
        ["integer"] = (_, v, _) => v is long or System.Numerics.BigInteger,
        ["iterable"] = (_, v, _) => v is TracedText or JinjaList or JinjaMapping or Undefined or Loop,
        ["lower"] = (c, v, _) => HasCase(c, v, char.IsUpper, char.IsLower),
        ["mapping"] = (_, v, _) => v is JinjaMapping,
        ["none"] = (_, v, _) => v is null,
        ["number"] = (_, v, _) => Operators.IsNumber(v),
        ["odd"] = (c, v, _) => Remainder(c, v, 2L) == 1,
        ["sameas"] = (c, v, a) => Other(c, a, "sameas") is var other && (ReferenceEquals(v, other) || (v is bool or long && v.GetType() == other?.GetType() && v.Equals(other))),
        ["sequence"] = (_, v, _) => v is TracedText or JinjaMapping or Undefined or JinjaList { Kind: not ListKind.Generator },
        ["string"] = (_, v, _) => v is TracedText,
        ["true"] = (_, v, _) => v is true,
        ["undefined"] = (_, v, _) => v is Undefined,
        ["upper"] = (c, v, _) => HasCase(c, v, char.IsLower, char.IsUpper),
    };

    private static readonly Dictionary<string, string> s_comparisons = new(StringComparer.Ordinal)
    {
        ["equalto"] = "==",
        ["eq"] = "==",
        ["=="] = "==",
        ["ne"] = "!=",
        ["!="] = "!=",
        ["lessthan"] = "<",
        ["lt"] = "<",
        ["<"] = "<",
        ["le"] = "<=",
        ["<="] = "<=",
        ["greaterthan"] = ">",
        ["gt"] = ">",
        [">"] = ">",
        ["ge"] = ">=",
        [">="] = ">=",
    };

    public static IEnumerable<string> Names => s_tests.Keys.Concat(s_comparisons.Keys);

    public static bool Has(string name) => s_tests.ContainsKey(name) || s_comparisons.ContainsKey(name);

    public static bool Apply(RenderContext context, string name, object? value, Arguments arguments)
    {
        if (s_comparisons.TryGetValue(name, out string? comparison))
        {
            return CompareExpression.Holds(context, comparison, value, Other(context, arguments, name));
        }

        return s_tests.TryGetValue(name, out Func<RenderContext, object?, Arguments, bool>? test)
            ? test(context, value, arguments)
            : throw context.Error($"the test '{name}' is not known here; known are: {string.Join(", ", Names)}.");
    }

    private static object? Other(RenderContext context, Arguments arguments, string name) => arguments.Bind(context, $"the test '{name}'", "other")[0];

    private static long Remainder(RenderContext context, object? value, object? divisor) =>
        Operators.Arithmetic(context, "%", value, divisor) is long rest ? rest : throw context.Error($"{Operators.Describe(value)} is neither odd nor even.");

    private static bool HasCase(RenderContext context, object? value, Func<char, bool> not, Func<char, bool> some)
    {
        string text = Operators.ToText(context, value).Value;
        return text.Any(some) && !text.Any(not);
    }
}

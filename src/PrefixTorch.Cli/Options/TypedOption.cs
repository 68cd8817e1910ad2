using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;

namespace PrefixTorch.Cli.Options;

/// <summary>Options whose errors name the option, the value and what is wanted.</summary>
internal static class TypedOption
{
    public static Option<string?> Text(string name, string value, string description, params string[] aliases) =>
        new(name, aliases) { HelpName = value, Description = description };

    public static Option<string[]> Texts(string name, string value, string description, params string[] aliases) =>
        new(name, aliases) { HelpName = value, Description = $"{description} (repeatable)", Arity = ArgumentArity.OneOrMore, DefaultValueFactory = _ => [] };

    public static Option<int?> Integer(string name, string description, int least, params string[] aliases) =>
        new(name, aliases) { HelpName = "N", Description = description, CustomParser = result => Parse<int>(result, name, number => number >= least, $"a whole number from {least}") };

    public static Option<ulong?> Seed(string name, string description) =>
        new(name) { HelpName = "N", Description = description, CustomParser = result => Parse<ulong>(result, name, _ => true, "a whole number from 0") };

    public static Option<float?> Number(string name, string description) =>
        new(name) { HelpName = "X", Description = description, CustomParser = result => Parse<float>(result, name, _ => true, "a number") };

    public static Option<int[]> Integers(string name, string description, int least) => new(name)
    {
        HelpName = "N",
        Description = $"{description} (repeatable)",
        Arity = ArgumentArity.OneOrMore,
        DefaultValueFactory = _ => [],
        CustomParser = result => [.. result.Tokens.Select(token => Parse<int>(result, token.Value, name, number => number >= least, $"a whole number from {least}") ?? 0)],
    };

    public static Option<string?> Choice(string name, string description, params string[] words)
    {
        var option = new Option<string?>(name) { HelpName = string.Join('|', words), Description = description };
        option.CompletionSources.Add(words);
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: string value }] && !words.Contains(value))
            {
                result.AddError(Wrong(name, value, $"one of {string.Join(", ", words)}"));
            }
        });
        return option;
    }

    /// <summary>The sentence for a value that is not what an option wants.</summary>
    public static string Wrong(string name, string value, string wanted) => $"{name} is {value}; it must be {wanted}.";

    private static T? Parse<T>(ArgumentResult result, string name, Func<T, bool> holds, string wanted) where T : struct, INumber<T> =>
        Parse(result, result.Tokens[0].Value, name, holds, wanted);

    private static T? Parse<T>(ArgumentResult result, string value, string name, Func<T, bool> holds, string wanted) where T : struct, INumber<T>
    {
        if (T.TryParse(value, NumberStyles.Float & ~NumberStyles.AllowLeadingWhite & ~NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out T number) && holds(number))
        {
            return number;
        }

        result.AddError(Wrong(name, value, wanted));
        return null;
    }
}

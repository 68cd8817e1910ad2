using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;

namespace PrefixTorch.Cli.Options;

/// <summary>Options whose errors name the option, the value and what is wanted.</summary>
internal static class TypedOption
{
    /// <summary>The name in help of a value that is a text. Only such a value may be empty: files, folders and addresses are not.</summary>
    public const string TextValue = "TEXT";

    public static Option<string?> Text(string name, string value, string description, params string[] aliases) =>
        NotEmpty(new Option<string?>(name, aliases) { HelpName = value, Description = description });

    public static Option<string[]> Texts(string name, string value, string description, params string[] aliases) =>
        NotEmpty(new Option<string[]>(name, aliases) { HelpName = value, Description = $"{description} (repeatable)", Arity = ArgumentArity.OneOrMore, DefaultValueFactory = _ => [] });

    /// <summary>An argument that is a file or folder.</summary>
    public static Argument<T> Path<T>(string name, string value, string description, ArgumentArity arity)
    {
        var argument = new Argument<T>(name) { HelpName = value, Description = description, Arity = arity };
        argument.Validators.Add(result => RefuseEmpty(result, value, value));
        return argument;
    }

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

    private static T NotEmpty<T>(T option) where T : Option
    {
        if (option.HelpName is string value && value != TextValue)
        {
            option.Validators.Add(result => RefuseEmpty(result, option.Name, value));
        }

        return option;
    }

    private static void RefuseEmpty(SymbolResult result, string name, string value)
    {
        if (result.Tokens.Any(token => token.Value.Length == 0))
        {
            result.AddError($"{name} is empty; give {value}.");
        }
    }

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

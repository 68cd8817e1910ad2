using System.Collections;
using System.CommandLine;

namespace PrefixTorch.Cli.Options;

/// <summary>Options that several verbs share, in the order that help shows.</summary>
internal abstract class OptionSet : IEnumerable<Option>
{
    private readonly List<Option> _options = [];

    public IEnumerator<Option> GetEnumerator() => _options.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Adds an option whose value is a text as it stands.</summary>
    protected Option<string?> Text(string name, string value, string description, params string[] aliases) => Keep(TypedOption.Text(name, value, description, aliases));

    /// <summary>Adds an option that may be repeated.</summary>
    protected Option<string[]> Texts(string name, string value, string description, params string[] aliases) => Keep(TypedOption.Texts(name, value, description, aliases));

    /// <summary>Adds an option that is there or not.</summary>
    protected Option<bool> Flag(string name, string description, params string[] aliases) => Keep(new Option<bool>(name, aliases) { Description = description });

    /// <summary>Adds an option with a whole number.</summary>
    protected Option<int?> Integer(string name, string description, int least = 0, params string[] aliases) => Keep(TypedOption.Integer(name, description, least, aliases));

    /// <summary>Adds an option with a number.</summary>
    protected Option<float?> Number(string name, string description) => Keep(TypedOption.Number(name, description));

    /// <summary>Adds an option with one of a few words.</summary>
    protected Option<string?> Choice(string name, string description, params string[] words) => Keep(TypedOption.Choice(name, description, words));

    /// <summary>Adds any other option.</summary>
    protected T Keep<T>(T option) where T : Option
    {
        _options.Add(option);
        return option;
    }
}

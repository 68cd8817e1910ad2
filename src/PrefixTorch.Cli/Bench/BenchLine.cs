using System.Globalization;

namespace PrefixTorch.Cli.Bench;

/// <summary>One line of a benchmark: fields for programs, in the order they are added, and three cells for people.</summary>
/// <param name="bench">What was measured.</param>
/// <param name="what">The same for people, with its size.</param>
internal sealed class BenchLine(string bench, string what)
{
    private const int Digits = 5;

    private readonly OrderedDictionary<string, object?> _fields = new() { ["bench"] = bench };

    /// <summary>The fields. Their names are part of the contract and stay as they are spelled.</summary>
    public IReadOnlyDictionary<string, object?> Fields => _fields;

    /// <summary>The result, for people.</summary>
    public string Result { get; init; } = "";

    /// <summary>How that compares with what the machine gives, for people.</summary>
    public string Share { get; init; } = "";

    /// <summary>The cells of a table's row.</summary>
    public string[] Row => [what, Result, Share];

    /// <summary>Adds a field.</summary>
    public BenchLine With(string name, object? value)
    {
        _fields[name] = value is double number ? Round(number) : value;
        return this;
    }

    private static double Round(double value) =>
        double.IsFinite(value) ? double.Parse(value.ToString($"G{Digits}", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture) : value;
}

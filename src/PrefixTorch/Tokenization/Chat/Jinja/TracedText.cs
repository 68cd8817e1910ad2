using System.Collections.Immutable;
using System.Text;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>
/// A string that remembers which of its characters are the template's own (trusted) and which came from the caller.
/// Every operation of the interpreter keeps that, and where an operation cannot tell, its result is the caller's: so
/// nothing a message says can end up as a special token. Immutable; equality is that of the characters.
/// </summary>
internal sealed class TracedText : IEquatable<TracedText>, IComparable<TracedText>
{
    public static readonly TracedText Empty = new("", []);

    // The lengths add up to the text's, none is zero, and neighbours differ.
    private readonly ImmutableArray<Run> _runs;

    private TracedText(string value, ImmutableArray<Run> runs)
    {
        Value = value;
        _runs = runs;
    }

    public string Value { get; }

    public int Length => Value.Length;

    public static TracedText Trusted(string value) => Whole(value, true);

    public static TracedText Untrusted(string value) => Whole(value, false);

    /// <summary>Whether every character is the template's own.</summary>
    public bool IsTrusted => _runs.All(run => run.IsTrusted);

    /// <summary>The pieces in order: text and whether it is the template's own.</summary>
    public IEnumerable<(string Text, bool IsTrusted)> Pieces
    {
        get
        {
            int start = 0;
            foreach (Run run in _runs)
            {
                yield return (Value.Substring(start, run.Length), run.IsTrusted);
                start += run.Length;
            }
        }
    }

    public TracedText Substring(int start, int length)
    {
        if (length == Length)
        {
            return this;
        }

        var builder = ImmutableArray.CreateBuilder<Run>();
        int runStart = 0;
        foreach (Run run in _runs)
        {
            int from = Math.Max(runStart, start);
            int to = Math.Min(runStart + run.Length, start + length);
            if (to > from)
            {
                builder.Add(new Run(to - from, run.IsTrusted));
            }

            runStart += run.Length;
        }

        return new TracedText(Value.Substring(start, length), builder.ToImmutable());
    }

    public TracedText Substring(int start) => Substring(start, Length - start);

    /// <summary>Changes the characters piece by piece (letter case, for one); each piece stays whose it was.</summary>
    public TracedText Map(Func<string, string> change) => Concat(Pieces.Select(piece => Whole(change(piece.Text), piece.IsTrusted)));

    public static TracedText Concat(params IEnumerable<TracedText> texts)
    {
        var value = new StringBuilder();
        var runs = ImmutableArray.CreateBuilder<Run>();
        foreach (TracedText text in texts)
        {
            value.Append(text.Value);
            foreach (Run run in text._runs)
            {
                if (runs.Count > 0 && runs[^1].IsTrusted == run.IsTrusted)
                {
                    runs[^1] = new Run(runs[^1].Length + run.Length, run.IsTrusted);
                }
                else
                {
                    runs.Add(run);
                }
            }
        }

        return new TracedText(value.ToString(), runs.ToImmutable());
    }

    public bool Equals(TracedText? other) => other is not null && Value == other.Value;

    public override bool Equals(object? obj) => Equals(obj as TracedText);

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public int CompareTo(TracedText? other) => string.CompareOrdinal(Value, other?.Value);

    public override string ToString() => Value;

    private static TracedText Whole(string value, bool isTrusted) =>
        value.Length == 0 ? Empty : new TracedText(value, [new Run(value.Length, isTrusted)]);

    private readonly record struct Run(int Length, bool IsTrusted);
}

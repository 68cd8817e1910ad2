using System.Buffers;
using System.Globalization;

namespace PrefixTorch.Tokenization;

/// <summary>Finds added tokens in a text: the leftmost, and of several that begin there the longest. Immutable.</summary>
internal sealed class AddedTokenMatcher
{
    private readonly Dictionary<char, (string Pattern, AddedToken Token)[]> _byFirstChar;
    private readonly SearchValues<string>? _search;

    /// <summary>A matcher of tokens, each by the text it looks like where it is searched for.</summary>
    public AddedTokenMatcher(IEnumerable<(string Pattern, AddedToken Token)> tokens)
    {
        _byFirstChar = tokens
            .Where(entry => entry.Pattern.Length > 0)
            .GroupBy(entry => entry.Pattern[0])
            .ToDictionary(group => group.Key, group => group.OrderByDescending(entry => entry.Pattern.Length).ToArray());
        if (_byFirstChar.Count > 0)
        {
            string[] patterns = [.. _byFirstChar.Values.SelectMany(entries => entries.Select(entry => entry.Pattern))];
            _search = SearchValues.Create(patterns, StringComparison.Ordinal);
        }
    }

    /// <summary>Whether there is nothing to find.</summary>
    public bool IsEmpty => _search is null;

    /// <summary>
    /// The next token in <paramref name="text"/> at or after <paramref name="from"/>: where the text before it ends, where the
    /// text after it begins, and the token; <see langword="null"/> where there is none.
    /// </summary>
    public (int Start, int End, AddedToken Token)? Next(ReadOnlySpan<char> text, int from)
    {
        if (_search is null)
        {
            return null;
        }

        for (int at = from; at < text.Length; at++)
        {
            int found = text[at..].IndexOfAny(_search);
            if (found < 0)
            {
                return null;
            }

            at += found;
            foreach (var (pattern, token) in _byFirstChar[text[at]])
            {
                int end = at + pattern.Length;
                if (text[at..].StartsWith(pattern, StringComparison.Ordinal) && !(token.SingleWord && IsInsideWord(text, at, end)))
                {
                    return Strip(text, from, at, end, token);
                }
            }
        }

        return null;
    }

    private static (int Start, int End, AddedToken Token) Strip(ReadOnlySpan<char> text, int from, int start, int end, AddedToken token)
    {
        while (token.StripLeft && start > from && char.IsWhiteSpace(text[start - 1]))
        {
            start--;
        }

        while (token.StripRight && end < text.Length && char.IsWhiteSpace(text[end]))
        {
            end++;
        }

        return (start, end, token);
    }

    private static bool IsInsideWord(ReadOnlySpan<char> text, int start, int end) =>
        (start > 0 && IsWordChar(text[start - 1])) || (end < text.Length && IsWordChar(text[end]));

    private static bool IsWordChar(char c) =>
        char.IsLetterOrDigit(c) || char.GetUnicodeCategory(c) is UnicodeCategory.ConnectorPunctuation or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark;
}

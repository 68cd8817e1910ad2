using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace PrefixTorch.Tokenization;

/// <summary>
/// Hugging Face's <c>Split</c> with a regular expression and behaviour <c>Isolated</c>: every match is a piece, and so is what
/// lies between two matches.
/// </summary>
/// <remarks>
/// Vocabularies were trained with engines that see code points. .NET's sees UTF-16 halves, to which <c>\p{L}</c> never
/// applies: <c>𝒜's</c> would fall apart before the <c>s</c> instead of before the apostrophe. So the expression runs over a
/// text in which one stand-in of the same general category takes the place of every character beyond the basic plane.
/// Such an engine also folds <c>ſ</c> to <c>s</c> where case is ignored, and .NET does not: another stand-in.
/// </remarks>
internal sealed class RegexSplitter : TextSplitter
{
    private static readonly char[] s_standIns = BuildStandIns();

    private readonly Regex _regex;
    private readonly bool _ignoresCase;

    /// <summary>A splitter by a pattern.</summary>
    /// <exception cref="ArgumentException">.NET does not understand the pattern.</exception>
    public RegexSplitter(string pattern)
    {
        if (pattern.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF'))
        {
            throw new ArgumentException($"it names characters beyond the basic plane: {pattern}", nameof(pattern));
        }

        Pattern = pattern;
        _regex = KnownPatterns.Find(pattern) ?? new Regex(pattern, RegexOptions.CultureInvariant | RegexOptions.Compiled);
        _ignoresCase = pattern.Contains("(?i", StringComparison.Ordinal);
    }

    /// <summary>The regular expression.</summary>
    public string Pattern { get; }

    public override string Description => "regex " + Pattern;

    public override void Split(ReadOnlySpan<char> text, List<int> ends)
    {
        if (!text.ContainsAnyInRange('\uD800', '\uDFFF') && !(_ignoresCase && text.Contains('ſ')))
        {
            Split(text, text, ends);
            return;
        }

        char[] shadow = ArrayPool<char>.Shared.Rent(text.Length);
        Split(text, shadow.AsSpan(0, Shadow(text, shadow)), ends);
        ArrayPool<char>.Shared.Return(shadow);
    }

    private void Split(ReadOnlySpan<char> text, ReadOnlySpan<char> shadow, List<int> ends)
    {
        // The two run side by side: `at` in the text is where `read` is in the shadow.
        int at = 0;
        int read = 0;
        int last = 0;
        foreach (ValueMatch match in _regex.EnumerateMatches(shadow))
        {
            if (match.Length == 0)
            {
                continue;
            }

            Advance(text, shadow, match.Index, ref read, ref at);
            if (at > last)
            {
                ends.Add(at);
            }

            Advance(text, shadow, match.Index + match.Length, ref read, ref at);
            ends.Add(at);
            last = at;
        }

        if (last < text.Length)
        {
            ends.Add(text.Length);
        }
    }

    private static void Advance(ReadOnlySpan<char> text, ReadOnlySpan<char> shadow, int to, ref int read, ref int at)
    {
        if (text.Length == shadow.Length)
        {
            (read, at) = (to, to);
            return;
        }

        for (; read < to; read++)
        {
            at += char.IsHighSurrogate(text[at]) ? 2 : 1;
        }
    }

    private int Shadow(ReadOnlySpan<char> text, Span<char> shadow)
    {
        int length = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            char c = rune.IsBmp ? (char)rune.Value : s_standIns[(int)Rune.GetUnicodeCategory(rune)];
            shadow[length++] = _ignoresCase && c == 'ſ' ? 's' : c;
        }

        return length;
    }

    private static char[] BuildStandIns()
    {
        // The highest character of each category in the basic plane: far from any that a pattern spells out.
        char[] standIns = new char[(int)UnicodeCategory.OtherNotAssigned + 1];
        for (int c = 0; c <= char.MaxValue; c++)
        {
            standIns[(int)char.GetUnicodeCategory((char)c)] = (char)c;
        }

        return standIns;
    }
}

/// <summary>The two expressions that nearly every byte-level Llama uses, compiled ahead: compiling takes longer than reading a vocabulary.</summary>
internal static partial class KnownPatterns
{
    /// <summary>Llama 3's.</summary>
    public const string Llama3 = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>GPT-2's, which <c>ByteLevel</c> means by <c>use_regex</c>.</summary>
    public const string Gpt2 = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>The compiled expression of a known pattern.</summary>
    public static Regex? Find(string pattern) => pattern switch
    {
        Llama3 => Llama3Regex(),
        Gpt2 => Gpt2Regex(),
        _ => null,
    };

    [GeneratedRegex(Llama3, RegexOptions.CultureInvariant)]
    private static partial Regex Llama3Regex();

    [GeneratedRegex(Gpt2, RegexOptions.CultureInvariant)]
    private static partial Regex Gpt2Regex();
}

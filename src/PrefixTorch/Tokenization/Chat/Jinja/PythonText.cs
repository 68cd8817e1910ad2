using System.Globalization;
using System.Text;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>What Python does with text where .NET does otherwise: whitespace, code points, numbers, quoted strings.</summary>
internal static class PythonText
{
    public static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\x1c' and <= '\x1f';

    public static string TrimStart(string text) => text[LeadingSpace(text)..];

    public static string TrimEnd(string text) => text[..^TrailingSpace(text)];

    public static int LeadingSpace(string text)
    {
        int count = 0;
        while (count < text.Length && IsSpace(text[count]))
        {
            count++;
        }

        return count;
    }

    public static int TrailingSpace(string text)
    {
        int count = 0;
        while (count < text.Length && IsSpace(text[text.Length - 1 - count]))
        {
            count++;
        }

        return count;
    }

    /// <summary>Where each code point begins, and the text's end: Python counts characters so, .NET in UTF-16 halves.</summary>
    public static int[] CodePoints(string text)
    {
        var starts = new List<int>(text.Length + 1);
        for (int at = 0; at < text.Length; at += char.IsSurrogatePair(text, at) ? 2 : 1)
        {
            starts.Add(at);
        }

        starts.Add(text.Length);
        return [.. starts];
    }

    public static int Length(string text)
    {
        int pairs = 0;
        for (int at = 0; at < text.Length; at++)
        {
            if (char.IsHighSurrogate(text[at]) && char.IsSurrogatePair(text, at))
            {
                pairs++;
            }
        }

        return text.Length - pairs;
    }

    /// <summary>A float as Python's repr writes it: the shortest digits that read back, with a point or an exponent.</summary>
    public static string Float(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
        }

        string[] parts = value.ToString("R", CultureInfo.InvariantCulture).Split('E');
        string sign = parts[0].StartsWith('-') ? "-" : "";
        string mantissa = parts[0].TrimStart('-');
        int point = mantissa.IndexOf('.') is >= 0 and int at ? at : mantissa.Length;
        string digits = mantissa.Replace(".", "", StringComparison.Ordinal);
        string significant = digits.TrimStart('0');
        int exponent = point - 1 - (digits.Length - significant.Length) + (parts.Length > 1 ? int.Parse(parts[1], CultureInfo.InvariantCulture) : 0);
        significant = significant.TrimEnd('0');
        if (significant.Length == 0)
        {
            return sign + "0.0";
        }

        return sign + exponent switch
        {
            < -4 or >= 16 => Scientific(significant, exponent),
            < 0 => "0." + new string('0', -exponent - 1) + significant,
            _ when significant.Length <= exponent + 1 => significant.PadRight(exponent + 1, '0') + ".0",
            _ => significant[..(exponent + 1)] + "." + significant[(exponent + 1)..],
        };
    }

    /// <summary>A string as Python's repr quotes it.</summary>
    public static string Quote(string text)
    {
        char quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        var result = new StringBuilder().Append(quote);
        foreach (Rune rune in text.EnumerateRunes())
        {
            result.Append(rune.Value switch
            {
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                _ when rune.Value == quote => "\\" + quote,
                < ' ' or (>= 0x7f and < 0xa0) or 0xad => $"\\x{rune.Value:x2}",
                _ => rune.ToString(),
            });
        }

        return result.Append(quote).ToString();
    }

    private static string Scientific(string significant, int exponent)
    {
        string mantissa = significant.Length == 1 ? significant : significant[..1] + "." + significant[1..];
        return $"{mantissa}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
    }
}

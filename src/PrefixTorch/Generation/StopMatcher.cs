using System.Text;

namespace PrefixTorch.Generation;

/// <summary>
/// Finds stop texts in a stream of pieces, wherever token borders fall, and holds back only what may yet become one.
/// </summary>
internal sealed class StopMatcher(IReadOnlyList<string> stops)
{
    private readonly StringBuilder _held = new();

    /// <summary>Whether a stop text was found; nothing is to be added after that.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Adds a piece and gives the text that is certain.</summary>
    public string Add(string piece)
    {
        if (stops.Count == 0)
        {
            return piece;
        }

        string text = _held.Append(piece).ToString();
        int found = -1;
        foreach (string stop in stops)
        {
            int at = text.IndexOf(stop, StringComparison.Ordinal);
            if (at >= 0 && (found < 0 || at < found))
            {
                found = at;
            }
        }

        _held.Clear();
        if (found >= 0)
        {
            IsStopped = true;
            return text[..found];
        }

        int certain = text.Length - LongestBeginning(text);
        _held.Append(text, certain, text.Length - certain);
        return text[..certain];
    }

    /// <summary>What was held back and is certain now that nothing follows.</summary>
    public string Flush()
    {
        string rest = _held.ToString();
        _held.Clear();
        return rest;
    }

    // The longest end of the text that a stop text begins with.
    private int LongestBeginning(string text)
    {
        int longest = 0;
        foreach (string stop in stops)
        {
            for (int length = Math.Min(stop.Length - 1, text.Length); length > longest; length--)
            {
                if (text.AsSpan(text.Length - length).SequenceEqual(stop.AsSpan(0, length)))
                {
                    longest = length;
                    break;
                }
            }
        }

        return longest;
    }
}

namespace PrefixTorch.Tokenization.Chat;

/// <summary>Finds special tokens in text as tokenizers do: from the left, the longest first.</summary>
internal sealed class SpecialTokenFinder
{
    private readonly Dictionary<char, string[]> _byFirstCharacter;

    public SpecialTokenFinder(IEnumerable<string> tokens) => _byFirstCharacter = tokens
        .Where(token => token.Length > 0)
        .GroupBy(token => token[0])
        .ToDictionary(group => group.Key, group => group.OrderByDescending(token => token.Length).ToArray());

    /// <summary>Where special tokens stand, whoever wrote them.</summary>
    public IEnumerable<(int Start, int Length)> FindAll(string text)
    {
        for (int at = 0; at < text.Length; at++)
        {
            if (_byFirstCharacter.TryGetValue(text[at], out string[]? tokens)
                && Array.Find(tokens, token => string.CompareOrdinal(text, at, token, 0, token.Length) == 0) is string found)
            {
                yield return (at, found.Length);
                at += found.Length - 1;
            }
        }
    }

    /// <summary>Where the template wrote special tokens: those that lie within its own text.</summary>
    public IEnumerable<(int Start, int Length)> FindTemplateTokens(RenderedChat chat)
    {
        int start = 0;
        foreach (ChatSegment segment in chat.Segments)
        {
            foreach ((int at, int length) in segment.IsTemplateText ? FindAll(segment.Text) : [])
            {
                yield return (start + at, length);
            }

            start += segment.Text.Length;
        }
    }
}

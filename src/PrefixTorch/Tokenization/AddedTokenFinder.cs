namespace PrefixTorch.Tokenization;

/// <summary>
/// Takes a text apart into added tokens and the normalized text between them: first the tokens that are looked for as they
/// stand, then, after normalization, the others. Immutable.
/// </summary>
internal sealed class AddedTokenFinder
{
    private readonly IReadOnlyList<TextRewriter> _normalizers;
    private readonly (AddedTokenMatcher Raw, AddedTokenMatcher Normalized) _all;
    private readonly (AddedTokenMatcher Raw, AddedTokenMatcher Normalized) _withoutSpecial;

    public AddedTokenFinder(TokenizerDefinition definition)
    {
        _normalizers = definition.Normalizers;
        _all = Matchers(definition.AddedTokens);
        _withoutSpecial = Matchers(definition.AddedTokens.Where(token => !token.Special));
    }

    /// <summary>
    /// The parts of a text in order: a token, or normalized text that is not empty and what stands before it.
    /// Tokens that are not special are words of the vocabulary, and found always.
    /// </summary>
    public IEnumerable<(string Text, AddedToken? Token, TextPlace Place)> Find(string text, TextPlace place, bool special)
    {
        var (raw, normalized) = special ? _all : _withoutSpecial;
        foreach (var (part, token, partPlace) in Split(text, raw, place))
        {
            if (token is not null)
            {
                yield return (part, token, partPlace);
                continue;
            }

            foreach (var inner in Split(Normalize(part, partPlace), normalized, partPlace))
            {
                yield return inner;
            }
        }
    }

    private static IEnumerable<(string Text, AddedToken? Token, TextPlace Place)> Split(string text, AddedTokenMatcher matcher, TextPlace place)
    {
        int from = 0;
        while (matcher.Next(text, from) is { } match)
        {
            if (match.Start > from)
            {
                yield return (text[from..match.Start], null, place);
            }

            yield return (match.Token.Content, match.Token, place);
            from = match.End;
            place = TextPlace.AfterToken;
        }

        if (from < text.Length)
        {
            yield return (from == 0 ? text : text[from..], null, place);
        }
    }

    private (AddedTokenMatcher Raw, AddedTokenMatcher Normalized) Matchers(IEnumerable<AddedToken> tokens)
    {
        ILookup<bool, AddedToken> kinds = tokens.ToLookup(token => token.Normalized);
        return (
            new AddedTokenMatcher(kinds[false].Select(token => (token.Content, token))),
            new AddedTokenMatcher(kinds[true].Select(token => (Normalize(token.Content, TextPlace.Start), token))));
    }

    private string Normalize(string text, TextPlace place)
    {
        foreach (TextRewriter normalizer in _normalizers)
        {
            text = text.Length > 0 ? normalizer.Apply(text, place) : text;
        }

        return text;
    }
}

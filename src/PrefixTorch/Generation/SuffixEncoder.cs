using PrefixTorch.Caching;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Generation;

/// <summary>What to do to a cache so that it is followed by a text: keep its first tokens, append these.</summary>
/// <param name="Keep">Tokens of the cache that stay.</param>
/// <param name="Ids">The tokens that follow.</param>
/// <param name="Origins">Where they came from.</param>
/// <param name="Note">Why not all of the cache stays, if so.</param>
internal sealed record SuffixPlan(int Keep, int[] Ids, TokenOrigin[] Origins, string? Note);

/// <summary>Appends text to tokens: where the tokenizer would merge across the border, and where it must not.</summary>
internal static class SuffixEncoder
{
    /// <summary>Ids that the caller gave as ids: fixed points that no text merges with.</summary>
    public static SuffixPlan Plan(int length, int[] ids)
    {
        var origins = new TokenOrigin[ids.Length];
        Array.Fill(origins, TokenOrigin.Special);
        return new SuffixPlan(length, ids, origins, null);
    }

    /// <summary>Plans to append <paramref name="text"/> to a sequence.</summary>
    /// <exception cref="PrefixTorchException"><see cref="Boundary.Strict"/>, and the tokenizer merges across the border.</exception>
    public static SuffixPlan Plan(LlamaTokenizer tokenizer, int[] prefix, TokenOrigin[] origins, string text, Boundary boundary, bool parseSpecial)
    {
        if (prefix.Length == 0)
        {
            return Whole(tokenizer, tokenizer.Encode(text, addBos: true, parseSpecial));
        }

        // Raw is the text as it would begin a sequence; otherwise no space is put between it and the text before.
        int[] ids = tokenizer.EncodeAt(boundary == Boundary.Raw ? TextPlace.Start : tokenizer.PlaceAfter(prefix), text, parseSpecial);
        SuffixPlan alone = new(prefix.Length, ids, OriginsOf(tokenizer, ids), null);
        if (boundary == Boundary.Raw || text.Length == 0)
        {
            return alone;
        }

        SuffixPlan exact = Exact(tokenizer, prefix, origins, text, parseSpecial) ?? alone;
        if (boundary == Boundary.Strict && (exact.Keep != alone.Keep || !exact.Ids.SequenceEqual(alone.Ids)))
        {
            throw new PrefixTorchException(
                $"The tokenizer merges across the border: the suffix alone is [{Show(alone.Ids)}], but together with the prefix its text is [{Show(exact.Ids)}] after token {exact.Keep} of {prefix.Length}. " +
                "Begin the suffix where a token begins (often before a space), or choose the boundary exact or raw.");
        }

        return exact;
    }

    private static SuffixPlan Whole(LlamaTokenizer tokenizer, int[] ids)
    {
        // The text may have spelled the token out that the tokenizer puts first by itself.
        if (ids.Length > 1 && ids[0] == tokenizer.BosTokenId && ids[1] == ids[0])
        {
            ids = ids[1..];
        }

        return new SuffixPlan(0, ids, OriginsOf(tokenizer, ids), null);
    }

    /// <summary>The tail of text tokens and the suffix, tokenized together; null where the tail's ids are not how its text is tokenized.</summary>
    private static SuffixPlan? Exact(LlamaTokenizer tokenizer, int[] prefix, TokenOrigin[] origins, string text, bool parseSpecial)
    {
        int start = prefix.Length;
        while (start > 0 && origins[start - 1] == TokenOrigin.Text)
        {
            start--;
        }

        int[] tail = prefix[start..];
        if (tail.Length == 0)
        {
            return null;
        }

        TextPlace place = tokenizer.PlaceAfter(prefix.AsSpan(0, start));
        string tailText = tokenizer.DecodeAt(place, tail);
        if (!tokenizer.EncodeAt(place, tailText).SequenceEqual(tail))
        {
            return null;
        }

        // Only plain text can merge with what stands before it: up to the first special token, if special text is meant as such.
        int plain = parseSpecial ? FirstSpecial(tokenizer, text) : text.Length;
        int[] joined = [.. tokenizer.EncodeAt(place, tailText + text[..plain]), .. tokenizer.EncodeAt(tokenizer.PlaceAfter(tail), text[plain..], parseSpecial)];
        int same = 0;
        while (same < tail.Length && same < joined.Length && joined[same] == tail[same])
        {
            same++;
        }

        int[] ids = joined[same..];
        int again = tail.Length - same;
        string? note = again == 0 ? null : $"the tokenizer merges across the border: {again} token{(again == 1 ? "" : "s")} of the prefix read again";
        return new SuffixPlan(start + same, ids, OriginsOf(tokenizer, ids), note);
    }

    private static int FirstSpecial(LlamaTokenizer tokenizer, string text)
    {
        int first = text.Length;
        foreach (string special in tokenizer.SpecialTokens.Keys)
        {
            int at = text.AsSpan(0, Math.Min(text.Length, first + special.Length - 1)).IndexOf(special, StringComparison.Ordinal);
            first = at >= 0 ? Math.Min(first, at) : first;
        }

        return first;
    }

    private static TokenOrigin[] OriginsOf(LlamaTokenizer tokenizer, int[] ids) =>
        [.. ids.Select(id => tokenizer.IsSpecial(id) ? TokenOrigin.Special : TokenOrigin.Text)];

    private static string Show(int[] ids) => ids.Length <= 8 ? string.Join(", ", ids) : string.Join(", ", ids[..8]) + ", …";
}

namespace PrefixTorch.Tokenization;

/// <summary>A step that changes a text before it is cut into pieces: a normalizer, or the part of a pre-tokenizer that is one. Immutable.</summary>
internal abstract record TextRewriter
{
    /// <summary>What decides its output, for the fingerprint.</summary>
    public abstract string Description { get; }

    /// <summary>Rewrites a text that is not empty.</summary>
    /// <param name="text">The text between two added tokens.</param>
    /// <param name="place">What stands before it.</param>
    public abstract string Apply(string text, TextPlace place);
}

/// <summary>When a prefix is put before a text.</summary>
internal enum PrefixRule
{
    /// <summary>Before every text between added tokens, from its beginning.</summary>
    Always,

    /// <summary>Only where nothing stands before the text.</summary>
    First,

    /// <summary>Not at all.</summary>
    Never,
}

/// <summary>Puts a prefix before a text: Hugging Face's <c>Prepend</c>, and what <c>Metaspace</c> and <c>add_prefix_space</c> do.</summary>
/// <param name="Prefix">What is put before it.</param>
/// <param name="Rule">When.</param>
/// <param name="UnlessThere">Whether a text that begins with the prefix is left alone.</param>
internal sealed record PrefixRewriter(string Prefix, PrefixRule Rule, bool UnlessThere) : TextRewriter
{
    public override string Description => $"prefix {Prefix} {Rule} {UnlessThere}";

    public override string Apply(string text, TextPlace place) =>
        IsPutAt(place) && !(UnlessThere && text.StartsWith(Prefix, StringComparison.Ordinal)) ? Prefix + text : text;

    /// <summary>Whether a text in this place gets the prefix.</summary>
    public bool IsPutAt(TextPlace place) => Rule switch
    {
        PrefixRule.Always => place != TextPlace.AfterText,
        PrefixRule.First => place == TextPlace.Start,
        _ => false,
    };
}

/// <summary>Replaces one text by another wherever it stands: Hugging Face's <c>Replace</c> with a plain string.</summary>
internal sealed record ReplaceRewriter(string Old, string New) : TextRewriter
{
    public override string Description => $"replace {Old} {New}";

    public override string Apply(string text, TextPlace place) => text.Replace(Old, New, StringComparison.Ordinal);
}

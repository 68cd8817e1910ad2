namespace PrefixTorch.Caching;

/// <summary>Where a token of a cache came from: what may be tokenized again when text is appended, and what may not.</summary>
public enum TokenOrigin : byte
{
    /// <summary>Tokenized from text that the caller gave.</summary>
    Text = 0,

    /// <summary>A special token, or an id that the caller gave as an id: a fixed point that no text merges with.</summary>
    Special = 1,

    /// <summary>Chosen by the model; need not be how the tokenizer would have split its text.</summary>
    Generated = 2,
}

namespace PrefixTorch.Tokenization;

/// <summary>What stands before a text that becomes ids; it decides whether a prefix is put there.</summary>
internal enum TextPlace
{
    /// <summary>Nothing, or only what the template puts first.</summary>
    Start,

    /// <summary>An added token.</summary>
    AfterToken,

    /// <summary>More text: the first word may be the end of one.</summary>
    AfterText,
}

namespace PrefixTorch.Tokenization;

/// <summary>A token that is found in the text itself, before any splitting or merging; as in a file's <c>added_tokens</c>.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">Its text.</param>
/// <param name="Special">Whether it steers the model (and is left out of decoded text on request), or is a word like any other.</param>
/// <param name="Normalized">Whether it is looked for after normalization instead of before.</param>
/// <param name="StripLeft">Whether it swallows white space before it.</param>
/// <param name="StripRight">Whether it swallows white space after it.</param>
/// <param name="SingleWord">Whether it counts only with no letter or digit on either side.</param>
internal sealed record AddedToken(int Id, string Content, bool Special, bool Normalized = false, bool StripLeft = false, bool StripRight = false, bool SingleWord = false);

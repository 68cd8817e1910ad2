namespace PrefixTorch.Tokenization.Chat;

/// <summary>What to append to a conversation's ids for its next messages.</summary>
/// <param name="Ids">The ids to append.</param>
/// <param name="Text">The text they stand for.</param>
/// <param name="Report">
/// Where the ids that are kept differ from what the template would now render for the past, and how; null where they do not.
/// </param>
public sealed record ChatTurn(int[] Ids, string Text, string? Report);

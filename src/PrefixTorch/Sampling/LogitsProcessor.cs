namespace PrefixTorch.Sampling;

/// <summary>
/// Changes scores before a token is chosen: penalties, bans, cuts. One object serves many sequences, so it keeps nothing
/// about any of them between calls, and may be called for several of them at once, from several threads: what it needs to know is in the context.
/// </summary>
/// <remarks>
/// In a generation it runs on the model's own threads, within the step that all sequences share: a slow one slows them all down, and one that waits for a call of
/// the same model waits forever.
/// </remarks>
public abstract class LogitsProcessor
{
    /// <summary>Changes the scores in place. Negative infinity means never; a processor does not bring such a token back.</summary>
    /// <param name="scores">One score for each id of the vocabulary.</param>
    /// <param name="context">The tokens so far.</param>
    public abstract void Process(Span<float> scores, LogitsContext context);

    internal static void Forbid(Span<float> scores, int id) => scores[InVocabulary(scores, id)] = float.NegativeInfinity;

    internal static int InVocabulary(ReadOnlySpan<float> scores, int id) => (uint)id < (uint)scores.Length
        ? id
        : throw new ArgumentException($"Token id {id} is outside the vocabulary: ids go from 0 to {scores.Length - 1}.");
}

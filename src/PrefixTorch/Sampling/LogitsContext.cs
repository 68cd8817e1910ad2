namespace PrefixTorch.Sampling;

/// <summary>What a processor may know besides the scores: the tokens so far.</summary>
public readonly ref struct LogitsContext
{
    /// <summary>Describes a sequence to processors.</summary>
    /// <param name="ids">Prompt and generated ids so far.</param>
    /// <param name="promptLength">How many of them are the prompt.</param>
    public LogitsContext(ReadOnlySpan<int> ids, int promptLength) : this(ids, promptLength, new SamplingScratch())
    {
    }

    internal LogitsContext(ReadOnlySpan<int> ids, int promptLength, SamplingScratch scratch)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(promptLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(promptLength, ids.Length);
        Ids = ids;
        PromptLength = promptLength;
        Scratch = scratch;
    }

    /// <summary>Prompt and generated ids so far.</summary>
    public ReadOnlySpan<int> Ids { get; }

    /// <summary>How many of <see cref="Ids"/> are the prompt.</summary>
    public int PromptLength { get; }

    /// <summary>The generated ids so far.</summary>
    public ReadOnlySpan<int> GeneratedIds => Ids[PromptLength..];

    internal SamplingScratch Scratch { get; }
}

namespace PrefixTorch.Tokenization;

/// <summary>Everything that a tokenizer file says, whatever its format: what the loaders make and <see cref="LlamaTokenizer"/> works from.</summary>
internal sealed record TokenizerDefinition
{
    /// <summary>The file it came from, for messages.</summary>
    public required string File { get; init; }

    public required Vocabulary Vocabulary { get; init; }

    public required MergeTable Merges { get; init; }

    public required BytePairOptions Options { get; init; }

    public IReadOnlyList<AddedToken> AddedTokens { get; init; } = [];

    /// <summary>What happens to a text between added tokens that are found as they stand; then <see cref="AddedToken.Normalized"/> ones are looked for.</summary>
    public IReadOnlyList<TextRewriter> Normalizers { get; init; } = [];

    /// <summary>What pre-tokenization changes before it splits.</summary>
    public IReadOnlyList<TextRewriter> Rewriters { get; init; } = [];

    public IReadOnlyList<TextSplitter> Splitters { get; init; } = [];

    /// <summary>The ids that the template puts before a text.</summary>
    public IReadOnlyList<int> Prefix { get; init; } = [];

    /// <summary>The ids that the template puts after a text.</summary>
    public IReadOnlyList<int> Suffix { get; init; } = [];

    public required TokenTextOptions Text { get; init; }

    /// <summary>The highest id and one.</summary>
    public int VocabSize => Math.Max(Vocabulary.Size, AddedTokens.Select(token => token.Id + 1).DefaultIfEmpty().Max());

    /// <summary>Refuses what contradicts itself, whatever format it came in.</summary>
    /// <exception cref="TokenizerException">Two added tokens share a text or an id, or an id is beyond the vocabulary.</exception>
    public void Check()
    {
        HashSet<int> ids = [];
        HashSet<string> texts = new(StringComparer.Ordinal);
        foreach (AddedToken token in AddedTokens)
        {
            if (!ids.Add(token.Id) || !texts.Add(token.Content) || token.Id > Vocabulary.MaxId)
            {
                throw new TokenizerException($"{File}: the added token \"{token.Content}\" with the id {token.Id} is there twice, shares its id, or is beyond {Vocabulary.MaxId}.");
            }
        }

        foreach (int id in (int[])[.. Prefix, .. Suffix, Options.UnknownId ?? 0])
        {
            if (id < 0 || id >= VocabSize)
            {
                throw new TokenizerException($"{File}: the template or the unknown token has the id {id}; the vocabulary ends at {VocabSize - 1}.");
            }
        }
    }
}

/// <summary>How ids become text again: a file's <c>decoder</c>.</summary>
internal sealed record TokenTextOptions
{
    /// <summary>Whether spellings are bytes in <see cref="ByteLevelAlphabet"/>.</summary>
    public required bool ByteLevel { get; init; }

    /// <summary>What stands for a space in spellings, where one does.</summary>
    public string? SpaceMark { get; init; }

    /// <summary>Whether <c>&lt;0xE4&gt;</c> is a byte.</summary>
    public bool ByteFallback { get; init; }

    /// <summary>How many spaces are taken off the beginning of a whole text, if they are there.</summary>
    public int LeadingSpacesStripped { get; init; }

    /// <summary>Whether the first token loses all its space marks (Hugging Face's <c>Metaspace</c>).</summary>
    public bool StripsFirstToken { get; init; }
}

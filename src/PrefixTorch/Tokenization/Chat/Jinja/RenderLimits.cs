namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>How much one rendering may do: a template comes with a model, and a model comes from anywhere.</summary>
internal sealed record RenderLimits(long MaxSteps = 20_000_000, long MaxCharacters = 1L << 30, long MaxLength = 1L << 26, int MaxMacroDepth = 64)
{
    public static readonly RenderLimits Default = new();
}

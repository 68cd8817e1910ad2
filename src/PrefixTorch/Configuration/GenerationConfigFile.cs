using System.Text.Json;

namespace PrefixTorch.Configuration;

/// <summary><c>generation_config.json</c> as it is on disk. Keys that are not listed here are ignored.</summary>
internal sealed record GenerationConfigFile
{
    public JsonElement BosTokenId { get; init; }

    public JsonElement EosTokenId { get; init; }

    public JsonElement PadTokenId { get; init; }

    public bool? DoSample { get; init; }

    public double? Temperature { get; init; }

    public int? TopK { get; init; }

    public double? TopP { get; init; }

    public double? MinP { get; init; }

    public double? TypicalP { get; init; }

    public double? RepetitionPenalty { get; init; }

    public int? NoRepeatNgramSize { get; init; }

    public int? NumBeams { get; init; }

    public int? NumReturnSequences { get; init; }

    public double? LengthPenalty { get; init; }

    /// <summary>true, false or "never".</summary>
    public JsonElement EarlyStopping { get; init; }

    public int? MaxNewTokens { get; init; }

    public int? MaxLength { get; init; }

    public int? MinNewTokens { get; init; }
}

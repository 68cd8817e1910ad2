using System.Text.Json;

namespace PrefixTorch.Configuration;

/// <summary>
/// What <c>generation_config.json</c> proposes: the stop tokens and the defaults of sampling. All but the stop tokens is optional;
/// null means that the file does not say. Values are as in the file; whoever samples checks their ranges. Immutable.
/// </summary>
public sealed record GenerationConfig
{
    /// <summary>The file name in a checkpoint's folder.</summary>
    public const string FileName = "generation_config.json";

    /// <summary>The token that starts a text: this file's, otherwise config.json's.</summary>
    public int? BosTokenId { get; init; }

    /// <summary>The tokens that end a text: this file's, otherwise config.json's, as in Hugging Face's <c>generate</c>.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>The token that fills short rows up. Not used here, where rows are ragged.</summary>
    public int? PadTokenId { get; init; }

    /// <summary>Draw, rather than take the best.</summary>
    public bool? DoSample { get; init; }

    /// <summary>What scores are divided by.</summary>
    public double? Temperature { get; init; }

    /// <summary>Draw from so many best.</summary>
    public int? TopK { get; init; }

    /// <summary>Draw from the fewest that have this much probability together.</summary>
    public double? TopP { get; init; }

    /// <summary>Draw from those with this share of the best one's probability.</summary>
    public double? MinP { get; init; }

    /// <summary>Draw from those of typical surprise that have this much probability together.</summary>
    public double? TypicalP { get; init; }

    /// <summary>Makes tokens that occurred less likely, where above 1.</summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>No run of so many tokens occurs twice.</summary>
    public int? NoRepeatNgramSize { get; init; }

    /// <summary>Beams.</summary>
    public int? NumBeams { get; init; }

    /// <summary>Results per prompt.</summary>
    public int? NumReturnSequences { get; init; }

    /// <summary>The exponent of the length that a beam's score is divided by.</summary>
    public double? LengthPenalty { get; init; }

    /// <summary>When beam search ends: <c>true</c>, <c>false</c> or <c>never</c>.</summary>
    public string? EarlyStopping { get; init; }

    /// <summary>Tokens to generate at most.</summary>
    public int? MaxNewTokens { get; init; }

    /// <summary>Tokens at most, the prompt's included. <see cref="MaxNewTokens"/> goes before it.</summary>
    public int? MaxLength { get; init; }

    /// <summary>Tokens to generate at least.</summary>
    public int? MinNewTokens { get; init; }

    /// <summary>Reads a checkpoint's <c>generation_config.json</c>; without one, only the model's own tokens are given.</summary>
    /// <param name="folder">The folder that may hold it.</param>
    /// <param name="model">The model's config, for the tokens that the file does not give.</param>
    /// <exception cref="ConfigurationException">The file is not JSON, or a value has the wrong type.</exception>
    public static GenerationConfig Load(string folder, LlamaConfig model)
    {
        string path = Path.Combine(folder, FileName);
        return JsonFile.ReadBytes(path) is byte[] json
            ? Parse(json, model, path)
            : new GenerationConfig { BosTokenId = model.BosTokenId, EosTokenIds = model.EosTokenIds };
    }

    /// <summary>Reads the text of a <c>generation_config.json</c>.</summary>
    /// <param name="json">UTF-8 JSON.</param>
    /// <param name="model">The model's config, for the tokens that the file does not give.</param>
    /// <param name="path">What messages call it.</param>
    /// <exception cref="ConfigurationException">As for <see cref="Load"/>.</exception>
    public static GenerationConfig Parse(ReadOnlySpan<byte> json, LlamaConfig model, string path = FileName) =>
        JsonFile.Parse(json, JsonFile.Default.GenerationConfigFile, path, file => new GenerationConfig
        {
            BosTokenId = TokenIds.ReadFirst(file.BosTokenId, "bos_token_id", path) ?? model.BosTokenId,
            EosTokenIds = TokenIds.Read(file.EosTokenId, "eos_token_id", path) ?? model.EosTokenIds,
            PadTokenId = TokenIds.ReadFirst(file.PadTokenId, "pad_token_id", path),
            DoSample = file.DoSample,
            Temperature = file.Temperature,
            TopK = file.TopK,
            TopP = file.TopP,
            MinP = file.MinP,
            TypicalP = file.TypicalP,
            RepetitionPenalty = file.RepetitionPenalty,
            NoRepeatNgramSize = file.NoRepeatNgramSize,
            NumBeams = file.NumBeams,
            NumReturnSequences = file.NumReturnSequences,
            LengthPenalty = file.LengthPenalty,
            EarlyStopping = EarlyStoppingText(file.EarlyStopping, path),
            MaxNewTokens = file.MaxNewTokens,
            MaxLength = file.MaxLength,
            MinNewTokens = file.MinNewTokens,
        });

    private static string? EarlyStoppingText(JsonElement element, string path) => element.ValueKind switch
    {
        JsonValueKind.Undefined or JsonValueKind.Null => null,
        JsonValueKind.True => "true",
        JsonValueKind.False => "false",
        JsonValueKind.String when element.GetString() == "never" => "never",
        _ => throw new ConfigurationException(path, $"early_stopping is {element.GetRawText()}, not true, false or \"never\". Correct it."),
    };
}

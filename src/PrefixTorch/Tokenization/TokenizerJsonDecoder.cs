using System.Text.Json;

namespace PrefixTorch.Tokenization;

/// <summary>The <c>decoder</c> of a <c>tokenizer.json</c>.</summary>
internal static class TokenizerJsonDecoder
{
    public static TokenTextOptions Read(string file, JsonElement decoder)
    {
        var json = new JsonStep(file, "decoder", decoder);
        return json.Type switch
        {
            null => throw new TokenizerException($"{file} has no decoder; without one, tokens would be joined with spaces."),
            "Sequence" => json.Items("decoders").Aggregate(new TokenTextOptions { ByteLevel = false }, (options, step) => Add(new JsonStep(file, "decoder", step), options)),
            _ => Add(json, new TokenTextOptions { ByteLevel = false }),
        };
    }

    private static TokenTextOptions Add(JsonStep json, TokenTextOptions options) => json.Type switch
    {
        "ByteLevel" => options with { ByteLevel = true },
        "ByteFallback" => options with { ByteFallback = true },
        "Fuse" => options, // Tokens are joined in any case.
        "Replace" when json.Text("content") == " " => options with { SpaceMark = json.Pattern("String") },
        "Strip" when json.Text("content") == " " && json.Number("stop") == 0 => options with { LeadingSpacesStripped = json.Number("start") },
        "Metaspace" => options with { SpaceMark = json.Text("replacement"), StripsFirstToken = json.PrefixRule() != PrefixRule.Never },
        "Replace" or "Strip" => throw json.Unknown("Replace of a mark by a space and Strip of leading spaces"),
        _ => throw json.Unknown("Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip and Metaspace"),
    };
}

using System.Text.Json.Nodes;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

/// <summary>Llama 2's kind of tokenizer.json, made from the committed SentencePiece model: an independent way to the same ids.</summary>
internal static class SentencePieceAsJson
{
    public static LlamaTokenizer Load(Action<JsonObject>? change = null)
    {
        JsonObject json = Make();
        change?.Invoke(json);
        return TokenizerText.Load(json.ToJsonString());
    }

    /// <summary>As Hugging Face's converter does it: pieces as they are numbered, merges as their results are.</summary>
    private static JsonObject Make()
    {
        LlamaTokenizer model = LlamaTokenizer.Load(Repository.Fixture("sentencepiece"));
        var vocab = new JsonObject();
        var merges = new JsonArray();
        for (int id = 0; id < model.VocabSize; id++)
        {
            string piece = model.TokenToString(id);
            vocab[piece] = id;
            for (int split = 1; split < piece.Length && id > 258; split++)
            {
                if (model.TokenId(piece[..split]) is not null && model.TokenId(piece[split..]) is not null)
                {
                    merges.Add(new JsonArray(piece[..split], piece[split..]));
                }
            }
        }

        return new JsonObject
        {
            ["version"] = "1.0",
            ["truncation"] = null,
            ["padding"] = null,
            ["added_tokens"] = new JsonArray(Special(0, "<unk>"), Special(1, "<s>"), Special(2, "</s>")),
            ["normalizer"] = JsonNode.Parse("""{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}"""),
            ["pre_tokenizer"] = null,
            ["post_processor"] = JsonNode.Parse("""{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}"""),
            ["decoder"] = JsonNode.Parse("""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}"""),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = "<unk>",
                ["continuing_subword_prefix"] = null,
                ["end_of_word_suffix"] = null,
                ["fuse_unk"] = true,
                ["byte_fallback"] = true,
                ["ignore_merges"] = false,
                ["vocab"] = vocab,
                ["merges"] = merges,
            },
        };
    }

    private static JsonObject Special(int id, string content) => new()
    {
        ["id"] = id,
        ["content"] = content,
        ["single_word"] = false,
        ["lstrip"] = false,
        ["rstrip"] = false,
        ["normalized"] = false,
        ["special"] = true,
    };
}

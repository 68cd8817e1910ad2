using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

/// <summary>The tokenizers that Hugging Face's ids are there for; those that may not be committed skip where they are absent.</summary>
internal static class TokenizerCase
{
    public const string TinyTolstoy = "tiny-tolstoy";
    public const string SentencePiece = "sentencepiece";
    public const string SentencePieceJson = "sentencepiece as tokenizer.json";
    public const string Llama3Json = "llama3 tokenizer.json";
    public const string Llama3Model = "llama3 tokenizer.model";
    public const string SmolLm2 = "smollm2";

    private static readonly Dictionary<string, LlamaTokenizer> s_loaded = [];

    public static TheoryData<string> All => [TinyTolstoy, SentencePiece, SentencePieceJson, Llama3Json, Llama3Model, SmolLm2];

    public static LlamaTokenizer Load(string name)
    {
        lock (s_loaded)
        {
            if (!s_loaded.TryGetValue(name, out LlamaTokenizer? tokenizer))
            {
                tokenizer = name == SentencePieceJson ? SentencePieceAsJson.Load() : LlamaTokenizer.Load(Path(name));
                s_loaded[name] = tokenizer;
            }

            return tokenizer;
        }
    }

    public static GoldenText[] Goldens(string name) => GoldenText.Read(name switch
    {
        TinyTolstoy => Repository.Fixture("tiny-tokenizer", "golden_ids.json"),
        SentencePiece or SentencePieceJson => Repository.Fixture("sentencepiece", "golden_ids.json"),
        SmolLm2 => Repository.SharedFixture("smollm2-135m", "goldens", "golden_ids.json"),
        _ => Repository.SharedFixture("llama3-tokenizer", "golden_ids.json"),
    });

    private static string Path(string name) => name switch
    {
        TinyTolstoy => Repository.TinyTolstoy,
        SentencePiece => Repository.Fixture("sentencepiece"),
        SmolLm2 => Repository.SharedFixture("smollm2-135m"),
        Llama3Model => Repository.SharedFixture("llama3-tokenizer", "tokenizer.model"),
        _ => Repository.SharedFixture("llama3-tokenizer"),
    };
}

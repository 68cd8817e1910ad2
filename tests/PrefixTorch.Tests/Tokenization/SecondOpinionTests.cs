using System.Text.Json;
using System.Text.RegularExpressions;
using CsCheck;
using Microsoft.ML.Tokenizers;
using PrefixTorch.Tokenization;
using LlamaTokenizer = PrefixTorch.Tokenization.LlamaTokenizer;

namespace PrefixTorch.Tests.Tokenization;

/// <summary>The same ids as Microsoft.ML.Tokenizers on random text of the basic plane, beyond which its regular expressions are wrong.</summary>
public partial class SecondOpinionTests
{
    private static readonly Gen<string> s_text = Gen.Frequency(
        (6, Gen.OneOf("the ", " and", "Pierre", "'s", "'LL", "n't", "  ", "\n", "\r\n\n", "\t", "1", "2024", "...", " <|", "|>", "é", "中文", "ß", "\u0301", "\u00a0", "_", "()", "ing", "A")),
        (2, Gen.Char[' ', '~'].Select(c => c.ToString())),
        (1, Gen.Char['\u00a1', '\ud7ff'].Select(c => c.ToString()))).List[0, 30].Select(string.Concat);

    [Fact]
    public void TinyTolstoyAgreesWithBpeTokenizer()
    {
        BpeTokenizer other = LoadBpe(Path.Combine(Repository.TinyTolstoy, "tokenizer.json"));
        AssertAgree(TokenizerCase.Load(TokenizerCase.TinyTolstoy), other);
    }

    [Fact]
    public void Llama3AgreesWithTiktokenTokenizer()
    {
        var other = TiktokenTokenizer.Create(Repository.SharedFixture("llama3-tokenizer", "tokenizer.model"), new RegexPreTokenizer(new Regex(KnownPatterns.Llama3), null), null);
        AssertAgree(TokenizerCase.Load(TokenizerCase.Llama3Model), other);
        AssertAgree(TokenizerCase.Load(TokenizerCase.Llama3Json), other);
    }

    [Fact]
    public void SentencePieceAgreesWithSentencePieceTokenizer()
    {
        using FileStream file = File.OpenRead(Repository.Fixture("sentencepiece", "tokenizer.model"));
        var other = SentencePieceTokenizer.Create(file, addBeginningOfSentence: false, addEndOfSentence: false);
        AssertAgree(TokenizerCase.Load(TokenizerCase.SentencePiece), other, text => !Repetition().IsMatch(text));
        AssertAgree(TokenizerCase.Load(TokenizerCase.SentencePieceJson), other, text => !Repetition().IsMatch(text));
    }

    [Fact]
    public void OfEqualPairsSentencePieceMergesTheLeftmost()
    {
        // SentencePiece's own comparison says so; Microsoft's takes the rightmost and gives - --. When this fails, the two agree.
        const string Text = "---";
        LlamaTokenizer ours = TokenizerCase.Load(TokenizerCase.SentencePiece);
        Assert.Equal(["▁", "--", "-"], ours.Encode(Text, addBos: false).Select(ours.TokenToString));
        using FileStream file = File.OpenRead(Repository.Fixture("sentencepiece", "tokenizer.model"));
        var other = SentencePieceTokenizer.Create(file, addBeginningOfSentence: false, addEndOfSentence: false);
        Assert.Equal(["▁", "-", "--"], other.EncodeToIds(Text).Select(ours.TokenToString));
    }

    /// <summary>What puts equal pairs side by side, of which only one can merge.</summary>
    [GeneratedRegex(@"(.{1,6})\1", RegexOptions.Singleline)]
    private static partial Regex Repetition();

    private static void AssertAgree(LlamaTokenizer ours, Tokenizer other, Func<string, bool>? where = null) =>
        s_text.Where(where ?? (_ => true)).Sample(text => Assert.Equal(other.EncodeToIds(text), ours.Encode(text, addBos: false)), iter: 2000);

    private static BpeTokenizer LoadBpe(string file)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(file));
        JsonElement model = json.RootElement.GetProperty("model");
        return BpeTokenizer.Create(new BpeOptions(model.GetProperty("vocab").EnumerateObject().Select(token => KeyValuePair.Create(token.Name, token.Value.GetInt32())))
        {
            Merges = model.GetProperty("merges").EnumerateArray().Select(pair => $"{pair[0].GetString()} {pair[1].GetString()}"),
            ByteLevel = true,
            PreTokenizer = new RegexPreTokenizer(new Regex(KnownPatterns.Llama3), null),
        });
    }
}

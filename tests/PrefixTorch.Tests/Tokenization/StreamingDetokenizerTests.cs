using System.Text;
using CsCheck;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class StreamingDetokenizerTests
{
    public static TheoryData<string> Cases => TokenizerCase.All;

    [Theory]
    [MemberData(nameof(Cases))]
    public void PiecesOfEveryGoldenMakeTheDecodedText(string name)
    {
        GoldenText[] goldens = TokenizerCase.Goldens(name);
        LlamaTokenizer tokenizer = TokenizerCase.Load(name);
        Assert.All(goldens, golden => AssertStreamsLikeDecode(tokenizer, golden.IdsWithBos));
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void PiecesOfRandomIdsMakeTheDecodedText(string name)
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(name);
        Gen.Int[0, tokenizer.VocabSize - 1].Array[0, 40].Sample(ids => AssertStreamsLikeDecode(tokenizer, ids), iter: 500);
    }

    [Fact]
    public void BytesThatAreSpreadOverTokensComeOutWhole()
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(TokenizerCase.TinyTolstoy);
        StreamingDetokenizer stream = tokenizer.CreateDetokenizer();
        int[] bytes = [.. "🙂"u8.ToArray().Select(value => ByteId(tokenizer, value))];
        Assert.Equal(["", "", "", "🙂"], bytes.Select(stream.Add));
        Assert.Equal("", stream.Flush());
    }

    [Fact]
    public void WhatNeverBecomesACharacterIsReplaced()
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(TokenizerCase.TinyTolstoy);
        StreamingDetokenizer stream = tokenizer.CreateDetokenizer();
        int a = tokenizer.TokenId("a")!.Value;
        Assert.Equal("", stream.Add(ByteId(tokenizer, 0xF0)) + stream.Add(ByteId(tokenizer, 0x9F)));
        Assert.Equal("\uFFFDa", stream.Add(a));
        Assert.Equal("", stream.Add(ByteId(tokenizer, 0xE2)));
        Assert.Equal("\uFFFD", stream.Flush());
        Assert.Equal("a", stream.Add(a)); // A flush begins anew.
        Assert.Equal("\uFFFD\uFFFD", tokenizer.Decode([ByteId(tokenizer, 0xFF), ByteId(tokenizer, 0xFE)]));
    }

    [Fact]
    public void ByteFallbackReplacesEachBrokenByte()
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(TokenizerCase.SentencePiece);
        int first = tokenizer.TokenId("<0xF0>")!.Value;
        int second = tokenizer.TokenId("<0x9F>")!.Value;
        Assert.Equal("\uFFFD\uFFFD", tokenizer.Decode([first, second]));
    }

    [Fact]
    public void IdsOfAPaddedVocabularyGiveNoTextInAStreamAndAnErrorInDecode()
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(TokenizerCase.TinyTolstoy);
        Assert.Equal(4096, tokenizer.VocabSize);
        Assert.Equal("", tokenizer.CreateDetokenizer().Add(4096));
        Assert.Throws<TokenizerException>(() => tokenizer.CreateDetokenizer().Add(-1));
        var error = Assert.Throws<TokenizerException>(() => tokenizer.Decode([1, 4096]));
        Assert.Contains("4096", error.Message, StringComparison.Ordinal);
        Assert.Contains("tokenizer.json", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheLeadingSpaceOfSentencePieceIsTakenOffOnce()
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(TokenizerCase.SentencePiece);
        StreamingDetokenizer stream = tokenizer.CreateDetokenizer(skipSpecialTokens: true);
        int[] ids = tokenizer.Encode("  the the");
        Assert.Equal("  the the", string.Concat(ids.Select(stream.Add)) + stream.Flush());
        Assert.Equal("<s>   the the", tokenizer.Decode(ids)); // Not first here, so it stays: as in Hugging Face's.
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void TextGoesOnFromAnyIdAsIfItHadBeenOne(string name)
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(name);
        GoldenText[] goldens = [.. TokenizerCase.Goldens(name).Where(golden => golden.IdsWithBos.Length < 200)];
        Assert.All(goldens, golden =>
        {
            int[] ids = golden.IdsWithBos;
            for (int at = 0; at <= ids.Length; at++)
            {
                StreamingDetokenizer whole = tokenizer.CreateDetokenizer(skipSpecialTokens: true);
                Array.ForEach(ids[..at], id => whole.Add(id));
                StreamingDetokenizer stream = tokenizer.CreateDetokenizer(skipSpecialTokens: true);
                stream.GoOnFrom(ids.AsSpan(0, at));
                Assert.Equal(string.Concat(Pieces(whole, ids[at..])), string.Concat(Pieces(stream, ids[at..])));
            }
        });
    }

    private static int ByteId(LlamaTokenizer tokenizer, byte value) =>
        tokenizer.TokenId(ByteLevelAlphabet.ToChar(value).ToString())!.Value;

    private static void AssertStreamsLikeDecode(LlamaTokenizer tokenizer, int[] ids)
    {
        foreach (bool skip in new[] { false, true })
        {
            StreamingDetokenizer stream = tokenizer.CreateDetokenizer(skip);
            var all = new StringBuilder();
            foreach (string piece in Pieces(stream, ids))
            {
                Assert.Equal(piece, Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(piece))); // No half of a surrogate pair.
                all.Append(piece);
            }

            Assert.Equal(tokenizer.Decode(ids, skip), all.ToString());
        }
    }

    private static IEnumerable<string> Pieces(StreamingDetokenizer stream, int[] ids)
    {
        foreach (int id in ids)
        {
            yield return stream.Add(id);
        }

        yield return stream.Flush();
    }
}

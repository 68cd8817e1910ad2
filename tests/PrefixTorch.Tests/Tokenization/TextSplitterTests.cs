using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class TextSplitterTests
{
    [Theory]
    [InlineData("𝒜𝓑's x", "𝒜𝓑|'s| x")]
    [InlineData("a𝒜b🙂c", "a𝒜b|🙂c")]
    [InlineData("𝟙𝟚𝟛𝟜", "𝟙𝟚𝟛|𝟜")]
    [InlineData(" 🙂🙂\n\n𝒜", " 🙂🙂\n\n|𝒜")]
    [InlineData("x'ſ", "x|'ſ")]
    [InlineData("I'LL 12345", "I|'LL| |123|45")]
    [InlineData("a   b", "a|  | b")]
    public void Llama3sExpressionSeesCodePoints(string text, string pieces) => AssertSplits(new RegexSplitter(KnownPatterns.Llama3), text, pieces);

    [Theory]
    [InlineData("𝒜's don't", "𝒜|'s| don|'t")]
    [InlineData("I'LL'ſ", "I|'|LL|'|ſ")]
    public void Gpt2sExpressionSeesCodePoints(string text, string pieces) => AssertSplits(new RegexSplitter(KnownPatterns.Gpt2), text, pieces);

    [Theory]
    [InlineData("ab12c½𝟙", "ab|1|2|c|½|𝟙", "ab|12|c|½𝟙")]
    [InlineData("1", "1", "1")]
    [InlineData("🙂 x", "🙂 x", "🙂 x")]
    public void DigitsStandApart(string text, string individual, string runs)
    {
        AssertSplits(new DigitSplitter(individual: true), text, individual);
        AssertSplits(new DigitSplitter(individual: false), text, runs);
    }

    [Theory]
    [InlineData("▁the▁▁end", "▁the|▁|▁end", "▁the|▁▁end")]
    [InlineData("a▁", "a|▁", "a|▁")]
    public void MarksBeginPieces(string text, string each, string runs)
    {
        AssertSplits(new MarkSplitter('▁', keepRuns: false), text, each);
        AssertSplits(new MarkSplitter('▁', keepRuns: true), text, runs);
    }

    [Fact]
    public void GapsBetweenMatchesArePiecesToo() => AssertSplits(new RegexSplitter("[0-9]"), "ab12𝒜", "ab|1|2|𝒜");

    private static void AssertSplits(TextSplitter splitter, string text, string expected)
    {
        List<int> ends = [];
        splitter.Split(text, ends);
        int start = 0;
        Assert.Equal(expected.Split('|'), ends.Select(end => text[start..(start = end)]));
        Assert.Equal(text.Length, start);
        ends.Clear();
        splitter.Split("", ends);
        Assert.Empty(ends);
    }
}

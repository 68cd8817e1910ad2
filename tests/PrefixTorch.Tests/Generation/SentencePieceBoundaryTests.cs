using System.Text;
using System.Text.Json.Nodes;
using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Tests.Tokenization;
using PrefixTorch.Tokenization;
using PrefixTorch.Tokenization.Chat;

namespace PrefixTorch.Tests.Generation;

/// <summary>SentencePiece puts a space before a text: where a text goes on, none is put there.</summary>
public sealed class SentencePieceBoundaryTests
{
    private static readonly string[] s_pieces = ["▁He", "▁was", "▁in", "▁the", "▁room"];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static TheoryData<string> Kinds => ["legacy", "not legacy", "prepend", "metaspace always", "metaspace first"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void ATemplatesTextIsTheSameWhateverAMessageSpells(string kind)
    {
        LlamaTokenizer tokenizer = Load(kind);
        var format = new ChatFormat(new ChatTemplate("<s>{{ messages[0].content }}</s>the room"), tokenizer);
        int[] plain = format.Encode([new("user", "He was")]), spelled = format.Encode([new("user", "He</s>was")]);
        int end = Array.IndexOf(plain, tokenizer.SpecialTokens["</s>"]), other = Array.IndexOf(spelled, tokenizer.SpecialTokens["</s>"]);
        Assert.InRange(end, 1, plain.Length - 2);
        Assert.Equal(plain[end..], spelled[other..]);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void TextGoesOnBehindIdsAndBehindGeneratedTokens(string kind)
    {
        LlamaTokenizer tokenizer = Load(kind);
        int[] prefix = [1, .. s_pieces.Select(piece => tokenizer.TokenId(piece)!.Value)];
        foreach (TokenOrigin origin in new[] { TokenOrigin.Special, TokenOrigin.Generated })
        {
            foreach (string suffix in new[] { " and then", ", and", "s", "  x" })
            {
                foreach (Boundary boundary in new[] { Boundary.Exact, Boundary.Strict })
                {
                    SuffixPlan plan = Plan(tokenizer, prefix, origin, suffix, boundary);
                    Assert.Equal(prefix.Length, plan.Keep);
                    Assert.Equal(suffix.Replace(' ', '▁'), Spell(tokenizer, plan.Ids));
                }

                Assert.Equal(tokenizer.Encode(suffix, addBos: false), Plan(tokenizer, prefix, origin, suffix, Boundary.Raw).Ids);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void TextBehindGeneratedTokensMergesWithMoreText(string kind)
    {
        LlamaTokenizer tokenizer = Load(kind);
        int[] generated = [1, .. s_pieces.Select(piece => tokenizer.TokenId(piece)!.Value)];
        int[] tail = Plan(tokenizer, generated, TokenOrigin.Generated, " an", Boundary.Exact).Ids;
        TokenOrigin[] origins = [.. Enumerable.Repeat(TokenOrigin.Generated, generated.Length), .. Enumerable.Repeat(TokenOrigin.Text, tail.Length)];
        SuffixPlan plan = SuffixEncoder.Plan(tokenizer, [.. generated, .. tail], origins, "d", Boundary.Exact, parseSpecial: false);
        Assert.Equal(generated.Length, plan.Keep);
        Assert.Equal([tokenizer.TokenId("▁and")!.Value], plan.Ids);
    }

    [Theory]
    [InlineData("legacy", "▁the")]
    [InlineData("prepend", "▁the")]
    [InlineData("metaspace always", "▁the")]
    [InlineData("not legacy", "the")]
    [InlineData("metaspace first", "the")]
    public void BehindASpecialTokenItIsAsTheFileSays(string kind, string expected)
    {
        LlamaTokenizer tokenizer = Load(kind);
        int[] prefix = tokenizer.Encode("the</s>", parseSpecial: true);
        Assert.Equal(expected, Spell(tokenizer, Plan(tokenizer, prefix, TokenOrigin.Text, "the", Boundary.Exact).Ids));
        Assert.Equal("▁the", Spell(tokenizer, Plan(tokenizer, [1], TokenOrigin.Text, "the", Boundary.Exact).Ids));

        // In pieces as in one.
        int[] whole = tokenizer.Encode("the</s>the, the", parseSpecial: true);
        int[] shorter = tokenizer.Encode("the</s>the", parseSpecial: true);
        SuffixPlan plan = Plan(tokenizer, shorter, TokenOrigin.Text, ", the", Boundary.Exact);
        int[] joined = [.. shorter[..plan.Keep], .. plan.Ids];
        Assert.Equal(whole, joined);
    }

    [Fact]
    public void ByteLevelTextsAreReadAsTheyWere()
    {
        LlamaTokenizer tokenizer = TokenizerText.LoadTiny(json => json["pre_tokenizer"] = JsonNode.Parse("""{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"""));
        int[] prefix = tokenizer.Encode("The old");
        Assert.Equal(tokenizer.Encode(", and", addBos: false), Plan(tokenizer, prefix, TokenOrigin.Generated, ", and", Boundary.Exact).Ids);
    }

    [Fact]
    public async Task PromptAnswerAndSuffixAreOneText()
    {
        using var model = new SentencePieceModel();
        int[] ids = [.. s_pieces[2..].Select(piece => model.Tokenizer.TokenId(piece)!.Value)];
        GenerationOptions options = new() { Greedy = true, IgnoreEos = true, MaxNewTokens = ids.Length, LogitsProcessors = [new Forced(ids)] };
        using Continuation generated = await model.Llama.ContinueAsync(null, "He was", options, cancellationToken: Cancellation);
        using KvCache appended = await model.Llama.AppendAsync(generated.Cache, ", and then", cancellationToken: Cancellation);
        Assert.Equal("He was in the room, and then", model.Tokenizer.Decode(appended.Tokens, skipSpecialTokens: true));
    }

    private static SuffixPlan Plan(LlamaTokenizer tokenizer, int[] prefix, TokenOrigin origin, string suffix, Boundary boundary)
    {
        TokenOrigin[] origins = [.. prefix.Select(id => tokenizer.IsSpecial(id) ? TokenOrigin.Special : origin)];
        return SuffixEncoder.Plan(tokenizer, prefix, origins, suffix, boundary, parseSpecial: false);
    }

    private static string Spell(LlamaTokenizer tokenizer, int[] ids) => string.Concat(ids.Select(tokenizer.TokenToString));

    private static LlamaTokenizer Load(string kind) => kind switch
    {
        "legacy" => TokenizerCase.Load(TokenizerCase.SentencePiece),
        "not legacy" => TokenizerText.InFolder(LlamaTokenizer.Load, ("tokenizer.model", File.ReadAllBytes(Repository.Fixture("sentencepiece", "tokenizer.model"))), ("tokenizer_config.json", Encoding.UTF8.GetBytes("""{"legacy": false}"""))),
        "prepend" => TokenizerCase.Load(TokenizerCase.SentencePieceJson),
        _ => SentencePieceAsJson.Load(json =>
        {
            string step = $$"""{"type":"Metaspace","replacement":"▁","prepend_scheme":"{{kind.Split(' ')[1]}}","split":false}""";
            json["normalizer"] = null;
            json["pre_tokenizer"] = JsonNode.Parse(step);
            json["decoder"] = JsonNode.Parse(step);
        }),
    };
}

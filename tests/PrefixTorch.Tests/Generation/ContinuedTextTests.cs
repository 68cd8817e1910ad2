using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Tests.Caching;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Generation;

/// <summary>Prompt and generated text together are the text of all ids, also where the prompt ends in the middle of something.</summary>
public sealed class ContinuedTextTests(SentencePieceModel spaces) : IClassFixture<SentencePieceModel>
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("He was", false)]
    [InlineData("He was", true)]
    [InlineData("", false)]
    [InlineData("", true)]
    public async Task SpaceThatBeginsAWordStaysUnlessNothingStandsBefore(string prompt, bool keepSpecial)
    {
        int[] ids = Pieces("▁in", "▁the", "▁room");
        int[] before = spaces.Tokenizer.Encode(prompt);
        using KvCache cache = await spaces.Llama.PrefillAsync(before, cancellationToken: Cancellation);
        using Continuation whole = await ContinueAsync(spaces.Llama, cache, ids, ids.Length, keepSpecial);
        using Continuation first = await ContinueAsync(spaces.Llama, cache, ids, 1, keepSpecial);
        using Continuation rest = await ContinueAsync(spaces.Llama, first.Cache, ids, 2, keepSpecial);

        string expected = spaces.Tokenizer.Decode([.. before, .. ids], !keepSpecial)[spaces.Tokenizer.Decode(before, !keepSpecial).Length..];
        Assert.Equal(prompt.Length > 0 || keepSpecial ? " in the room" : "in the room", expected);
        Assert.Equal(expected, whole.Text);
        Assert.Equal(expected, first.Text + rest.Text);
        Assert.Equal(whole.Text, string.Concat(whole.Tokens.Select(token => token.Text)));
    }

    [Fact]
    public async Task CharacterThatACallEndedInComesOutWholeInTheNext()
    {
        LlamaTokenizer tokenizer = Tolstoy.Fp32.Tokenizer;
        int[] ids = [.. tokenizer.Encode("naïve ", addBos: false), .. Bytes("🙂"u8), .. tokenizer.Encode(" café", addBos: false)];
        int half = ids.Length - tokenizer.Encode(" café", addBos: false).Length - 2;
        using KvCache cache = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        using Continuation first = await ContinueAsync(Tolstoy.Fp32, cache, ids, half);
        using Continuation nothing = await ContinueAsync(Tolstoy.Fp32, first.Cache, ids, 1);
        using Continuation rest = await ContinueAsync(Tolstoy.Fp32, nothing.Cache, ids, ids.Length - half - 1);
        Assert.Equal(("naïve \uFFFD", "", "🙂 café"), (first.Text, nothing.Text, rest.Text));
        Assert.Equal("🙂", rest.Tokens[0].Text);
    }

    [Fact]
    public async Task CharacterThatStaysBrokenIsReplacedOnce()
    {
        int[] broken = [.. Bytes("🙂"u8)[..2], .. Tolstoy.Fp32.Tokenizer.Encode(" and", addBos: false)];
        using KvCache cache = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        using Continuation first = await ContinueAsync(Tolstoy.Fp32, cache, broken, 2);
        using Continuation rest = await ContinueAsync(Tolstoy.Fp32, first.Cache, broken, broken.Length - 2);
        Assert.Equal(("\uFFFD", " and"), (first.Text, rest.Text));

        // Byte fallback has one for each byte.
        int[] bytes = [.. Pieces("<0xF0>", "<0x9F>", "<0x99>", "▁the")];
        using KvCache prompt = await spaces.Llama.PrefillAsync("He was", cancellationToken: Cancellation);
        using Continuation two = await ContinueAsync(spaces.Llama, prompt, bytes, 2);
        using Continuation more = await ContinueAsync(spaces.Llama, two.Cache, bytes, 2);
        Assert.Equal(("\uFFFD\uFFFD", "\uFFFD the"), (two.Text, more.Text));
    }

    private static async Task<Continuation> ContinueAsync(Llama llama, KvCache cache, int[] ids, int count, bool keepSpecial = false)
    {
        GenerationOptions options = new() { Greedy = true, IgnoreEos = true, MaxNewTokens = count, KeepSpecialTokens = keepSpecial, LogitsProcessors = [new Forced(ids)] };
        return await llama.ContinueAsync(cache, "", options, cancellationToken: Cancellation);
    }

    private static int[] Bytes(ReadOnlySpan<byte> bytes) => [.. bytes.ToArray().Select(value => Tolstoy.Fp32.Tokenizer.TokenId(ByteLevelAlphabet.ToChar(value).ToString())!.Value)];

    private int[] Pieces(params string[] pieces) => [.. pieces.Select(piece => spaces.Tokenizer.TokenId(piece) ?? throw new ArgumentException(piece))];
}

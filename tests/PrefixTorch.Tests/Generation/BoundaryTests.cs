using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Tests.Caching;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Generation;

/// <summary>How a suffix's text meets what stands before it.</summary>
public sealed class BoundaryTests
{
    private static readonly GenerationOptions s_greedy = new() { Greedy = true, MaxNewTokens = 4 };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static Llama Llama => Tolstoy.Fp32;

    private static LlamaTokenizer Tokenizer => Llama.Tokenizer;

    public static TheoryData<string, string> Texts => new()
    {
        { "The old prince looked", " at his son" },
        { "The old prince loo", "ked at his son" },
        { "The old prince ", "looked" },
        { "An ide", "a, naïve caf" },
        { "Пьер Безух", "ов" },
        { "a 😀 b", "😀c" },
        { "one\n", "\ntwo" },
        { "x", "" },
    };

    [Theory]
    [MemberData(nameof(Texts))]
    public async Task ExactIsAsIfTheTextsHadBeenTokenizedTogether(string prefix, string suffix)
    {
        using KvCache cache = await Llama.PrefillAsync(prefix, cancellationToken: Cancellation);
        using KvCache appended = await Llama.AppendAsync(cache, suffix, cancellationToken: Cancellation);
        Assert.Equal(Tokenizer.Encode(prefix + suffix), appended.Tokens);
        using KvCache fresh = await Llama.PrefillAsync(prefix + suffix, cancellationToken: Cancellation);
        float[] expected = await Logits(fresh), found = await Logits(appended);
        Assert.InRange(Parity.Golden.MaxDistance(expected, found), 0, 1e-4f);
        Assert.Equal(Tokenizer.Encode(prefix), cache.Tokens);
    }

    [Theory]
    [MemberData(nameof(Texts))]
    public async Task RawTokenizesTheSuffixAlone(string prefix, string suffix)
    {
        using KvCache cache = await Llama.PrefillAsync(prefix, cancellationToken: Cancellation);
        using KvCache appended = await Llama.AppendAsync(cache, suffix, new() { Boundary = Boundary.Raw }, cancellationToken: Cancellation);
        Assert.Equal([.. cache.Tokens, .. Tokenizer.Encode(suffix, addBos: false)], appended.Tokens);
    }

    [Fact]
    public async Task WhatIsReadAgainIsReported()
    {
        using KvCache cache = await Llama.PrefillAsync("The old prince loo", cancellationToken: Cancellation);
        int merged = cache.Length - cache.Tokens.AsSpan().CommonPrefixLength(Tokenizer.Encode("The old prince looked"));
        Assert.InRange(merged, 1, 4);
        using Continuation exact = await Llama.ContinueAsync(cache, "ked", s_greedy, cancellationToken: Cancellation);
        Assert.Equal(cache.Length - merged, exact.Report.Usage.ReusedTokens);
        Assert.Equal($"the tokenizer merges across the border: {merged} token{(merged == 1 ? "" : "s")} of the prefix read again", exact.Report.Reuse);
        using Continuation clean = await Llama.ContinueAsync(cache, " the", s_greedy with { Boundary = Boundary.Raw }, cancellationToken: Cancellation);
        Assert.Equal(cache.Length, clean.Report.Usage.ReusedTokens);
        Assert.Null(clean.Report.Reuse);
        Assert.Equal(cache.Length * cache.Layout.BytesPerToken, clean.Report.SharedBytes);
    }

    [Fact]
    public async Task StrictRefusesWhatWouldMerge()
    {
        using KvCache cache = await Llama.PrefillAsync("The old prince loo", cancellationToken: Cancellation);
        string message = (await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.ContinueAsync(cache, "ked", s_greedy with { Boundary = Boundary.Strict }, cancellationToken: Cancellation))).Message;
        Assert.Contains("merges across the border", message, StringComparison.Ordinal);
        using KvCache whole = await Llama.PrefillAsync("The old prince looked", cancellationToken: Cancellation);
        using KvCache strict = await Llama.AppendAsync(whole, " at", new() { Boundary = Boundary.Strict }, cancellationToken: Cancellation);
        Assert.Equal(Tokenizer.Encode("The old prince looked at"), strict.Tokens);
    }

    [Fact]
    public async Task NothingMergesWithASpecialTokenOrWhatWasGenerated()
    {
        string special = Tokenizer.SpecialTokens.Keys.First(text => Tokenizer.SpecialTokens[text] != Tokenizer.BosTokenId);
        using KvCache cache = await Llama.PrefillAsync("The old prince loo" + special, new() { ParseSpecial = true }, cancellationToken: Cancellation);
        Assert.Equal(TokenOrigin.Special, cache.Origins[^1]);
        using KvCache appended = await Llama.AppendAsync(cache, "ked", cancellationToken: Cancellation);
        Assert.Equal([.. cache.Tokens, .. Tokenizer.Encode("ked", addBos: false)], appended.Tokens);

        // As plain text it is nothing special.
        using KvCache plain = await Llama.PrefillAsync("The old prince loo" + special, cancellationToken: Cancellation);
        Assert.DoesNotContain(Tokenizer.SpecialTokens[special], plain.Tokens);

        using KvCache prompt = await Llama.PrefillAsync("The old prince looked", cancellationToken: Cancellation);
        using Continuation generated = await Llama.ContinueAsync(prompt, "", s_greedy, cancellationToken: Cancellation);
        using KvCache after = await Llama.AppendAsync(generated.Cache, "ing", cancellationToken: Cancellation);
        Assert.Equal([.. generated.Cache.Tokens, .. Tokenizer.Encode("ing", addBos: false)], after.Tokens);
        Assert.Equal(Enumerable.Repeat(TokenOrigin.Generated, 4), after.Origins[prompt.Length..(prompt.Length + 4)]);
    }

    [Fact]
    public async Task IdsAreTakenAsTheyAreAndNothingMergesWithThem()
    {
        int[] ids = Tokenizer.Encode("The old prince loo");
        using KvCache cache = await Llama.PrefillAsync(ids, cancellationToken: Cancellation);
        Assert.Equal(ids, cache.Tokens);
        Assert.All(cache.Origins, origin => Assert.Equal(TokenOrigin.Special, origin));
        using KvCache appended = await Llama.AppendAsync(cache, "ked", cancellationToken: Cancellation);
        Assert.Equal([.. ids, .. Tokenizer.Encode("ked", addBos: false)], appended.Tokens);
    }

    [Fact]
    public async Task BeginningOfSequenceStandsOnceAtTheVeryFirst()
    {
        string bos = Tokenizer.SpecialTokens.First(pair => pair.Value == Tokenizer.BosTokenId).Key;
        using KvCache spelled = await Llama.PrefillAsync(bos + "The old", new() { ParseSpecial = true }, cancellationToken: Cancellation);
        using KvCache implied = await Llama.PrefillAsync("The old", cancellationToken: Cancellation);
        Assert.Equal(implied.Tokens, spelled.Tokens);
        using KvCache appended = await Llama.AppendAsync(implied, " prince", cancellationToken: Cancellation);
        Assert.Single(appended.Tokens, id => id == Tokenizer.BosTokenId);
    }

    [Fact]
    public async Task EmptySuffixComputesNothingAndAfterACutOneTokenIsReadAgain()
    {
        using KvCache cache = await Llama.PrefillAsync("The old prince looked at his son", cancellationToken: Cancellation);
        using Continuation nothing = await Llama.ContinueAsync(cache, "", s_greedy, cancellationToken: Cancellation);
        Assert.Equal(new Usage(cache.Length, cache.Length, 0, 4), nothing.Report.Usage);
        Assert.Null(nothing.Report.Reuse);

        using KvCache cut = cache.Clone();
        cut.Truncate(cache.Length - 1);
        Assert.False(cut.HasLogits);
        using Continuation again = await Llama.ContinueAsync(cut, "", s_greedy, cancellationToken: Cancellation);
        Assert.Equal(new Usage(cut.Length, cut.Length - 1, 1, 4), again.Report.Usage);
        Assert.Contains("one token read again", again.Report.Reuse, StringComparison.Ordinal);
        using Continuation fresh = await Llama.ContinueAsync(null, cut.Tokens, s_greedy, cancellationToken: Cancellation);
        Assert.Equal(fresh.Ids, again.Ids);
    }

    private static async Task<float[]> Logits(KvCache cache)
    {
        using KvCache read = await Llama.AppendAsync(cache, "", cancellationToken: Cancellation);
        return read.Logits!;
    }
}

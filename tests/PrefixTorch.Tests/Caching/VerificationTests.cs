using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Tests.Checkpoints;

namespace PrefixTorch.Tests.Caching;

/// <summary>verify says what a state is worth: nothing more, nothing less.</summary>
public sealed class VerificationTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static TheoryData<bool, string> Cases => new() { { true, " and said" }, { true, "" }, { false, " and said" }, { false, "" } };

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task StateThatWasReadHereIsReplayedBitForBit(bool fp32, string suffix)
    {
        Llama llama = fp32 ? Tolstoy.Fp32 : Tolstoy.AsStored;
        using KvCache prefix = await llama.PrefillAsync(string.Concat(Enumerable.Repeat(Tolstoy.Prefix + ". ", 20)), cancellationToken: Cancellation);
        using Continuation turn = await llama.ContinueAsync(prefix, " And", new() { Greedy = true, MaxNewTokens = 20 }, cancellationToken: Cancellation);
        VerificationReport report = await llama.VerifyAsync(turn.Cache, suffix, cancellationToken: Cancellation);
        Assert.Equal(VerificationVerdict.BitForBit, report.Verdict);
        Assert.True(report.Replay.SameBits);
        Assert.Equal(0, report.Replay.LargestDistance);
        Assert.Null(report.Replay.FirstDifference);
        Assert.True(report.Whole.SameBits);
        Assert.Equal(0, report.Whole.LargestDistance);
        Assert.InRange(report.ComparedTokens, 17, 20);
        Assert.True(report.Replay.Passes > report.Whole.Passes, "The state was read in more pieces than a fresh read takes.");
        TestContext.Current.TestOutputHelper!.WriteLine($"{report}");
    }

    [Fact]
    public async Task StateOfManyChunksIsReplayedBitForBit()
    {
        int[] ids = [.. Enumerable.Range(0, 1300).Select(i => 3 + i * 7 % 900)];
        using KvCache state = await Tolstoy.AsStored.PrefillAsync(ids, cancellationToken: Cancellation);
        VerificationReport report = await Tolstoy.AsStored.VerifyAsync(state, cancellationToken: Cancellation);
        Assert.True(report.Replay.Passes > 2, "The state is to be read in more than two pieces.");
        Assert.Equal(VerificationVerdict.BitForBit, report.Verdict);
    }

    [Fact]
    public async Task RestoredStateIsReplayedBitForBit()
    {
        using var folder = new TemporaryFolder();
        using KvCache prefix = await Tolstoy.AsStored.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        prefix.Save(folder.File("state"));
        using var restored = KvCache.Load(folder.File("state"), Tolstoy.AsStored);
        Assert.Equal(VerificationVerdict.BitForBit, (await Tolstoy.AsStored.VerifyAsync(restored, " and", cancellationToken: Cancellation)).Verdict);
    }

    [Fact]
    public async Task StateThatIsNotWhatItsTokensSayIsFound()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        var tensors = Enumerable.Range(0, prefix.Layout.Layers).Select(prefix.ToTensors).ToArray();
        int[] others = prefix.Tokens;
        others[3] ^= 1;
        using var wrong = KvCache.FromTensors(others, [.. tensors.Select(pair => pair.Key)], [.. tensors.Select(pair => pair.Value)], Tolstoy.Fp32);
        Array.ForEach(tensors, pair =>
        {
            pair.Key.Dispose();
            pair.Value.Dispose();
        });
        VerificationReport report = await Tolstoy.Fp32.VerifyAsync(wrong, " and", cancellationToken: Cancellation);
        Assert.Equal(VerificationVerdict.OutOfTolerance, report.Verdict);
        Assert.True(report.Replay.LargestDistance > report.Tolerance && report.Whole.LargestDistance > report.Tolerance);
        Assert.False(report.Replay.SameBits);
    }

    [Fact]
    public async Task EightBitStateIsNotBitForBit()
    {
        using var folder = new TemporaryFolder();
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        prefix.Save(folder.File("state"), new() { Quantization = KvQuantization.Int8 });
        using var restored = KvCache.Load(folder.File("state"), Tolstoy.Fp32);
        VerificationReport report = await Tolstoy.Fp32.VerifyAsync(restored, " and", cancellationToken: Cancellation);
        Assert.Equal(VerificationVerdict.OutOfTolerance, report.Verdict);
        Assert.InRange(report.Whole.LargestDistance, 1e-3, 2);
    }
}

using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Sampling;
using PrefixTorch.Tests.Caching;

namespace PrefixTorch.Tests.Generation;

/// <summary>A model may be disposed from anywhere, with calls under way: they fail, and their step has its weights to the end.</summary>
public sealed class DisposalTests
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task FromAProgressCallbackWhileAnotherSequenceIsRead()
    {
        Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { Threads = 2 }, Cancellation);
        Task<KvCache>[] big = ReadMuch(llama);
        Task<KvCache> small = llama.PrefillAsync([1, 2, 3, 4], null, new Disposing(llama), Cancellation);
        await AssertFails(big);
        using KvCache cache = await small.WaitAsync(s_long, Cancellation);
        Assert.Equal([1, 2, 3, 4], cache.Tokens);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => llama.PrefillAsync([1], cancellationToken: Cancellation));
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(2, 16)]
    public async Task FromALogitsProcessorOnAnyThreadOfTheModels(int threads, int branches)
    {
        Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { Threads = threads }, Cancellation);
        using KvCache prefix = await llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        Task<KvCache>[] big = ReadMuch(llama);
        GenerationOptions options = new() { Greedy = true, IgnoreEos = true, MaxNewTokens = 1000, NumReturnSequences = branches, LogitsProcessors = [new DisposingProcessor(llama, prefix.Length + 3)] };
        Task<Continuation[]> generating = llama.GenerateBranchesAsync(prefix, [" and said"], options, cancellationToken: Cancellation);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => generating.WaitAsync(s_long, Cancellation));
        await AssertFails(big);
        Assert.Equal(Tolstoy.Prefix, llama.Tokenizer.Decode(prefix.Tokens).Replace("<|begin_of_text|>", ""));
    }

    // Enough to be under way still when somebody disposes the model, also on a busy machine.
    private static Task<KvCache>[] ReadMuch(Llama llama) =>
        [.. Enumerable.Range(0, 6).Select(_ => llama.PrefillAsync([.. Enumerable.Range(0, 4000)], cancellationToken: Cancellation))];

    private static async Task AssertFails(Task<KvCache>[] calls)
    {
        await Assert.ThrowsAsync<ObjectDisposedException>(() => calls[^1].WaitAsync(s_long, Cancellation));
        foreach (Task<KvCache> read in calls.Where(call => call.IsCompletedSuccessfully))
        {
            read.Result.Dispose();
        }
    }

    private sealed class Disposing(Llama llama) : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value) => llama.Dispose();
    }

    /// <summary>Disposes once the sequence is so long.</summary>
    private sealed class DisposingProcessor(Llama llama, int length) : LogitsProcessor
    {
        public override void Process(Span<float> scores, LogitsContext context)
        {
            if (context.Ids.Length > length)
            {
                llama.Dispose();
            }
        }
    }
}

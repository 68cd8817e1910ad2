using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Sampling;
using PrefixTorch.Tests.Caching;
using PrefixTorch.Tests.Checkpoints;

namespace PrefixTorch.Tests.Generation;

/// <summary>A model may be disposed from anywhere, with calls under way: they fail, and their step has its weights to the end.</summary>
public sealed class DisposalTests
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);
    private static readonly GenerationOptions s_greedy = new() { Greedy = true, IgnoreEos = true, MaxNewTokens = 6 };

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

    [Fact]
    public async Task CachesAreSavedAndContinuedByAnotherInstance()
    {
        using var folder = new TemporaryFolder();
        Llama first = await Llama.LoadAsync(Repository.TinyTolstoy, cancellationToken: Cancellation);
        using KvCache prefix = await first.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        using Continuation begun = await first.ContinueAsync(prefix, " and said", s_greedy, cancellationToken: Cancellation);
        using Continuation expected = await first.ContinueAsync(begun.Cache, "", s_greedy, cancellationToken: Cancellation);
        first.Dispose();

        // Nobody asked who made the caches before.
        prefix.Save(folder.File("state"), new() { FlushToDisk = false });
        using Llama second = await Llama.LoadAsync(Repository.TinyTolstoy, cancellationToken: Cancellation);
        using var restored = KvCache.Load(folder.File("state"), second);
        Assert.Equal(prefix.Tokens, restored.Tokens);
        using Continuation found = await second.ContinueAsync(begun.Cache, "", s_greedy, cancellationToken: Cancellation);
        Assert.Equal(expected.Ids, found.Ids);
        Continuation[] branches = await second.GenerateBranchesAsync(prefix, [" and said"], s_greedy, cancellationToken: Cancellation);
        using Continuation branch = branches[0];
        Assert.Equal(begun.Ids, branch.Ids);
    }

    [Fact]
    public async Task LastTokenThatHasNoKeysYetNeedsAModel()
    {
        using var folder = new TemporaryFolder();
        Llama first = await Llama.LoadAsync(Repository.TinyTolstoy, cancellationToken: Cancellation);
        using Continuation begun = await first.ContinueAsync(null, Tolstoy.Prefix, s_greedy, cancellationToken: Cancellation);
        first.Dispose();
        Assert.Contains("AppendAsync", Assert.Throws<ObjectDisposedException>(() => begun.Cache.ToTensors(0)).Message, StringComparison.Ordinal);
        Assert.Contains("AppendAsync", Assert.Throws<ObjectDisposedException>(() => begun.Cache.Save(folder.File("state"))).Message, StringComparison.Ordinal);

        // What the message says.
        using Llama second = await Llama.LoadAsync(Repository.TinyTolstoy, cancellationToken: Cancellation);
        using KvCache whole = await second.AppendAsync(begun.Cache, "", cancellationToken: Cancellation);
        second.Dispose();
        Assert.Equal(begun.Cache.Tokens, whole.Tokens);
        (TorchSharp.torch.Tensor key, TorchSharp.torch.Tensor value) = whole.ToTensors(0);
        using (key)
        using (value)
        {
            Assert.Equal(whole.Length, key.shape[2]);
        }

        whole.Save(folder.File("state"), new() { FlushToDisk = false });
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

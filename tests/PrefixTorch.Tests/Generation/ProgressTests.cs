using PrefixTorch.Caching;
using PrefixTorch.Generation;

namespace PrefixTorch.Tests.Generation;

/// <summary>Progress is told on the caller's side: whatever a callback does, it does to its own call alone.</summary>
public sealed class ProgressTests : IAsyncLifetime
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);
    private static readonly GenerationOptions s_short = new() { Greedy = true, IgnoreEos = true, MaxNewTokens = 5 };
    private static readonly int[] s_prompt = [.. Enumerable.Range(100, 300)];

    private Llama _llama = null!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { Threads = 1, PrefillChunk = 16 }, Cancellation);

    public ValueTask DisposeAsync()
    {
        _llama.Dispose();
        return default;
    }

    [Fact]
    public async Task ReportsComeInOrderOneAtATimeAndTheLastBeforeTheCallEnds()
    {
        List<PrefillProgress> told = [];
        int inside = 0;
        var progress = new Callback(value =>
        {
            Assert.Equal(1, Interlocked.Increment(ref inside));
            told.Add(value);
            Thread.Sleep(told.Count % 3);
            Interlocked.Decrement(ref inside);
        });
        using KvCache cache = await _llama.PrefillAsync(s_prompt, progress: progress, cancellationToken: Cancellation);
        Assert.Equal(new PrefillProgress(300, 300), told[^1]);
        Assert.Equal(told.Select(value => value.Done).Distinct().Order(), told.Select(value => value.Done));

        // What was there already counts as read.
        told.Clear();
        using KvCache longer = await _llama.AppendAsync(cache, [1, 2, 3], progress: progress, cancellationToken: Cancellation);
        Assert.Equal([new PrefillProgress(303, 303)], told);
    }

    [Fact]
    public async Task CallbackThatBlocksStallsNoOtherSequenceAndMissesAllButTheLastReport()
    {
        using var release = new ManualResetEventSlim();
        List<int> told = [];
        Task<KvCache> slow = _llama.PrefillAsync(s_prompt, progress: new Callback(value =>
        {
            told.Add(value.Done);
            Assert.True(release.Wait(s_long, Cancellation));
        }), cancellationToken: Cancellation);
        using (KvCache other = await _llama.PrefillAsync(s_prompt, cancellationToken: Cancellation).WaitAsync(s_long / 2, Cancellation))
        {
            Assert.Equal(300, other.Length);
        }

        Assert.False(slow.IsCompleted);
        release.Set();
        using KvCache cache = await slow;
        Assert.Equal(300, told[^1]);
        Assert.InRange(told.Count, 1, 19);
    }

    [Fact]
    public async Task CallbackMayWaitForAnotherCall()
    {
        int length = 0;
        using KvCache cache = await _llama.PrefillAsync(s_prompt, progress: new Callback(_ =>
        {
            Task<KvCache> nested = _llama.PrefillAsync([1, 2, 3]);
            Assert.True(nested.Wait(s_long));
            using KvCache read = nested.Result;
            length = read.Length;
        }), cancellationToken: Cancellation);
        Assert.Equal(3, length);
    }

    [Fact]
    public async Task LastReportComesBeforeTheFirstToken()
    {
        List<string> told = [];
        var progress = new Callback(value =>
        {
            Thread.Sleep(20);
            told.Add(value.Done == value.Total ? "read" : "reading");
        });
        using Continuation continuation = await _llama.ContinueAsync(null, s_prompt, s_short, _ => told.Add("token"), progress, Cancellation);
        Assert.Equal(["read", "token", "token", "token", "token", "token"], told.SkipWhile(what => what == "reading"));

        // Where nothing is left to read there is nothing to tell, and nothing to wait for.
        told.Clear();
        using KvCache prefix = await _llama.PrefillAsync(s_prompt, cancellationToken: Cancellation);
        using Continuation at = await _llama.ContinueAsync(prefix, "", s_short, _ => told.Add("token"), progress, Cancellation);
        Assert.Equal(Enumerable.Repeat("token", 5), told);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WhatACallbackThrowsEndsItsCall(bool atTheLast)
    {
        using KvCache prefix = await _llama.PrefillAsync([1, 2], cancellationToken: Cancellation);
        var progress = new Callback(value =>
        {
            if (!atTheLast || value.Done == value.Total)
            {
                throw new FormatException("a callback's");
            }
        });
        await Assert.ThrowsAsync<FormatException>(() => _llama.PrefillAsync(s_prompt, progress: progress, cancellationToken: Cancellation));
        await Assert.ThrowsAsync<FormatException>(() => _llama.AppendAsync(prefix, s_prompt, progress: progress, cancellationToken: Cancellation));
        await Assert.ThrowsAsync<FormatException>(() => _llama.ContinueAsync(prefix, s_prompt, s_short, null, progress, Cancellation));
    }

    [Fact]
    public async Task CancellingFromACallbackEndsTheCall()
    {
        using var cancel = new CancellationTokenSource();
        var progress = new Callback(_ => cancel.Cancel());
        OperationCanceledException e = await Assert.ThrowsAsync<OperationCanceledException>(() => _llama.PrefillAsync([.. Enumerable.Range(0, 4000)], progress: progress, cancellationToken: cancel.Token));
        Assert.Equal(cancel.Token, e.CancellationToken);
    }

    /// <summary>Tells at once, on the thread that reports.</summary>
    private sealed class Callback(Action<PrefillProgress> told) : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value) => told(value);
    }
}

using System.Diagnostics;
using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Parity;
using TorchSharp;

namespace PrefixTorch.Tests.Caching;

/// <summary>A cache is a value: copied for nothing, named, one of a family.</summary>
public sealed class CacheValueTests : IDisposable
{
    private readonly TestModel _model = new(Golden.Checkpoint("llama31-gqa"), "portable");

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void CacheOutlivesWhatItWasClonedFrom()
    {
        var first = new KvCache(_model);
        _model.Append(first, [1, 2, 3]);
        using KvCache second = first.Clone();
        byte[] bytes = Tolstoy.Bytes(first);
        first.Dispose();
        Assert.Equal([1, 2, 3], second.Tokens);
        Assert.Equal(bytes, Tolstoy.Bytes(second));
        Assert.Throws<ObjectDisposedException>(() => first.Tokens);
        first.Dispose();
    }

    [Fact]
    public void FirstToAppendGoesOnInPlaceAndTheSecondOpensABufferOfItsOwn()
    {
        using var first = new KvCache(_model);
        _model.Append(first, [1, 2, 3]);
        using KvCache second = first.Clone();
        _model.Append(first, [4]);
        _model.Append(second, [5]);
        Assert.Single(first.Segments);
        Assert.Equal(2, second.Segments.Length);
        Assert.Same(first.Segments[0].Buffer, second.Segments[0].Buffer);
        Assert.Equal([1, 2, 3, 4], first.Tokens);
        Assert.Equal([1, 2, 3, 5], second.Tokens);
    }

    [Fact]
    public void OnlyWhatIsCertainToBeWrittenFillsABuffer()
    {
        // Huge pages commit all of it at once: a prompt's, but not room that a generation or a long chat may never need.
        var host = new ShapeHost(new KvIdentity("", "", "", ""), new KvLayout(1, 1, 8, DType.Float32));
        using KvCache prompt = new(host), generated = new(host);
        Append(prompt, 512, rest: 1500, likely: 1024);
        Append(prompt, 1500, rest: 0, likely: 1024);
        Append(prompt, 1024, rest: 0, likely: 0);
        Append(prompt, 20, rest: 0, likely: 100);
        Append(generated, 20, rest: 0, likely: 100);
        Assert.Equal([(3036, true), (3036, false), (120, false)], host.Buffers);

        static void Append(KvCache cache, int count, int rest, int likely)
        {
            using KvAppend append = cache.BeginAppend(new int[count], new TokenOrigin[count], rest, likely);
            append.Commit(null);
        }
    }

    [Fact]
    public void AppendThatIsGivenUpLeavesItsSlotsToTheNext()
    {
        using var cache = new KvCache(_model);
        _model.Append(cache, [1, 2, 3]);
        using (cache.BeginAppend([4, 5], new TokenOrigin[2]))
        {
        }

        _model.Append(cache, [6]);
        Assert.Single(cache.Segments);
        Assert.Equal([1, 2, 3, 6], cache.Tokens);
    }

    [Fact]
    public void AppendToACacheThatSomebodyElseCutIsRefused()
    {
        using var cache = new KvCache(_model);
        _model.Append(cache, [1, 2, 3]);
        using KvAppend append = cache.BeginAppend([4], new TokenOrigin[1]);
        cache.Truncate(1);
        Assert.Throws<InvalidOperationException>(() => append.Commit(null));
        Assert.Equal([1], cache.Tokens);
    }

    [Fact]
    public void ChatOfAThousandTurnsEachKeptByACloneStaysAFewBuffers()
    {
        List<KvCache> kept = [];
        using var chat = new KvCache(_model);
        try
        {
            for (int turn = 0; turn < 1000; turn++)
            {
                // Beyond the model's context: no forward pass is made, the slots are what counts.
                using KvAppend append = chat.BeginAppend([turn % 320, 1, 2], new TokenOrigin[3]);
                append.Commit(null);
                kept.Add(chat.Clone());
            }

            Assert.InRange(chat.Segments.Length, 1, 8);
            HashSet<KvBuffer> buffers = [.. kept.SelectMany(clone => clone.Segments).Select(segment => segment.Buffer)];
            Assert.Equal(chat.Segments.Length, buffers.Count);
            Assert.Equal(3000, kept[^1].Length);
            Assert.Equal([5, 1, 2], kept[5].Tokens[^3..]);
        }
        finally
        {
            kept.ForEach(clone => clone.Dispose());
        }
    }

    [Fact]
    public void CloneOf32768TokensTakesMicrosecondsAndLittleMemory()
    {
        using var cache = new KvCache(_model);
        for (int done = 0; done < 32768; done += 512)
        {
            using KvAppend append = cache.BeginAppend(new int[512], new TokenOrigin[512]);
            append.Commit(new float[320]);
        }

        const int Count = 2000;
        var clones = new KvCache[Count];
        using (KvCache warm = cache.Clone())
        {
            warm.Truncate(32767);
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread();
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < Count; i++)
        {
            clones[i] = cache.Clone();
        }

        double each = Stopwatch.GetElapsedTime(start).TotalMicroseconds / Count;
        long bytes = (GC.GetAllocatedBytesForCurrentThread() - allocated) / Count;
        Array.ForEach(clones, clone => clone.Dispose());
        Assert.InRange(each, 0, 50);
        Assert.InRange(bytes, 1, 4096);
    }

    [Fact]
    public void FamilyIsThoseWhoAreThere()
    {
        var root = new KvCache(_model) { Name = "root" };
        _model.Append(root, [1, 2, 3]);
        KvCache middle = root.Clone();
        using KvCache leaf = middle.Clone();
        using KvCache other = root.Clone();
        Assert.Null(middle.Name);
        Assert.Null(root.Parent);
        Assert.Same(root, middle.Parent);
        Assert.Same(middle, leaf.Parent);
        Assert.Equal([leaf], middle.Children);
        Assert.Equal(2, root.Children.Count);

        middle.Dispose();
        Assert.Same(root, leaf.Parent);
        Assert.Equal(new HashSet<KvCache> { leaf, other }, [.. root.Children]);
        root.Dispose();
        Assert.Null(leaf.Parent);
        Assert.Empty(root.Children);
    }

    [Fact]
    public async Task ContinuationIsItsPrefixesChild()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        using Continuation one = await Tolstoy.Fp32.ContinueAsync(prefix, " and", new() { Greedy = true, MaxNewTokens = 2 }, cancellationToken: Cancellation);
        Continuation[] two = await Tolstoy.Fp32.GenerateBranchesAsync(prefix, ["", " said"], new() { Greedy = true, MaxNewTokens = 2 }, cancellationToken: Cancellation);
        Assert.Same(prefix, one.Cache.Parent);
        Assert.All(two, branch => Assert.Same(prefix, branch.Cache.Parent));
        Assert.Equal(3, prefix.Children.Count);
        Array.ForEach(two, branch => branch.Dispose());
        Assert.Equal([one.Cache], prefix.Children);
    }

    [Fact]
    public void ForgottenChildrenAreNotKeptAlive()
    {
        using var root = new KvCache(_model);
        Forget(root);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Assert.Empty(root.Children);

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        static void Forget(KvCache of) => Assert.Equal(0, of.Clone().Length);
    }

    [Fact]
    public void SharedBytesAreThoseThatOthersReferTo()
    {
        long token = _model.Layout.BytesPerToken;
        using var prefix = new KvCache(_model);
        for (int i = 0; i < 10; i++)
        {
            _model.Append(prefix, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        }

        Assert.Equal((0, 100 * token), (prefix.SharedBytes, prefix.OwnBytes));
        using (KvCache clone = prefix.Clone())
        {
            Assert.Equal((100 * token, 0), (prefix.SharedBytes, prefix.OwnBytes));
            clone.Truncate(10);
            Assert.Equal((10 * token, 90 * token), (prefix.SharedBytes, prefix.OwnBytes));
            Assert.Equal((10 * token, 0), (clone.SharedBytes, clone.OwnBytes));
            _model.Append(clone, [7, 7]);
            Assert.Equal((10 * token, 2 * token), (clone.SharedBytes, clone.OwnBytes));
        }

        Assert.Equal((0, 100 * token), (prefix.SharedBytes, prefix.OwnBytes));
    }

    [Fact]
    public void TensorsThatWereTakenOutCanBeTakenIn()
    {
        using var cache = new KvCache(_model);
        _model.Append(cache, [1, 2, 3, 4, 5]);
        List<torch.Tensor> keys = [], values = [];
        try
        {
            for (int layer = 0; layer < cache.Layout.Layers; layer++)
            {
                (torch.Tensor key, torch.Tensor value) = cache.ToTensors(layer);
                keys.Add(key);
                values.Add(value);
            }

            using var again = KvCache.FromTensors(cache.Tokens, keys, values, _model);
            Assert.Equal(cache.Tokens, again.Tokens);
            Assert.Equal(Tolstoy.Bytes(cache), Tolstoy.Bytes(again));
            Assert.False(again.HasLogits);
            Assert.Equal(_model.Append(cache, [6]), _model.Append(again, [6]));

            Refuses("There are 2 keys and the model has 3 layers", () => KvCache.FromTensors([1, 2, 3, 4, 5], keys[..2], values, _model));
            Refuses("The keys of layer 0 have the shape [1, 2, 5, 8]; this model's, of 4 tokens, have [1, 2, 4, 8]", () => KvCache.FromTensors([1, 2, 3, 4], keys, values, _model));
            Refuses("Token id 320 is not in the model's vocabulary of 320", () => KvCache.FromTensors([320, 2, 3, 4, 5], keys, values, _model));
        }
        finally
        {
            keys.Concat(values).ToList().ForEach(tensor => tensor.Dispose());
        }

        static void Refuses(string message, Action action) => Assert.Contains(message, Assert.Throws<PrefixTorchException>(action).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ImportedCacheReadsOneTokenAgainAndSaysSo()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        var tensors = Enumerable.Range(0, prefix.Layout.Layers).Select(prefix.ToTensors).ToArray();
        using var imported = KvCache.FromTensors(prefix.Tokens, [.. tensors.Select(pair => pair.Key)], [.. tensors.Select(pair => pair.Value)], Tolstoy.Fp32);
        Array.ForEach(tensors, pair =>
        {
            pair.Key.Dispose();
            pair.Value.Dispose();
        });
        GenerationOptions greedy = new() { Greedy = true, MaxNewTokens = 12 };
        using Continuation expected = await Tolstoy.Fp32.ContinueAsync(prefix, "", greedy, cancellationToken: Cancellation);
        using Continuation found = await Tolstoy.Fp32.ContinueAsync(imported, "", greedy, cancellationToken: Cancellation);
        Assert.Equal(expected.Ids, found.Ids);
        Assert.Equal(1, found.Report.Usage.ComputedTokens);
        Assert.Contains("one token read again", found.Report.Reuse, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ManyThreadsMayCloneAndAppendAndDispose()
    {
        // The caches of one family, from eight threads: the slots are claimed for real, without a forward pass.
        using var root = new KvCache(_model);
        using (KvAppend append = root.BeginAppend([.. Enumerable.Range(0, 100)], new TokenOrigin[100]))
        {
            append.Commit(null);
        }

        await Parallel.ForAsync(0, 8, Cancellation, (thread, _) =>
        {
            var random = new Random(thread);
            for (int round = 0; round < 150; round++)
            {
                using KvCache clone = root.Clone();
                List<int> expected = [.. Enumerable.Range(0, 100)];
                for (int i = 0; i < 20; i++)
                {
                    int[] ids = [.. Enumerable.Range(0, random.Next(1, 20)).Select(_ => random.Next(320))];
                    using (KvAppend append = clone.BeginAppend(ids, new TokenOrigin[ids.Length]))
                    {
                        if (random.Next(4) > 0)
                        {
                            append.Commit(null);
                            expected.AddRange(ids);
                        }
                    }

                    if (random.Next(5) == 0)
                    {
                        int length = random.Next(expected.Count);
                        clone.Truncate(length);
                        expected.RemoveRange(length, expected.Count - length);
                    }

                    using KvCache second = clone.Clone();
                    Assert.Equal(expected, second.Tokens);
                }
            }

            return ValueTask.CompletedTask;
        });
        Assert.Equal(Enumerable.Range(0, 100), root.Tokens);
        Assert.Empty(root.Children);
        Assert.Equal(0, root.SharedBytes);
    }

    public void Dispose() => _model.Dispose();
}

using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Checkpoints;

namespace PrefixTorch.Tests.Caching;

/// <summary>Tests that count what is alive in the whole process: nothing runs beside them.</summary>
[CollectionDefinition(nameof(AloneCollection), DisableParallelization = true)]
public sealed class AloneCollection;

/// <summary>What a call returns the caller disposes; nothing else outlives the call, however it ends.</summary>
[Collection(nameof(AloneCollection))]
public sealed class LeakTests
{
    private static readonly GenerationOptions s_short = new() { Greedy = true, MaxNewTokens = 6 };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static Llama Llama => Tolstoy.Fp32;

    [Fact]
    public async Task EveryCallLetsGoOfWhatItHeld()
    {
        await Check(async () =>
        {
            using KvCache prefix = await Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            using KvCache appended = await Llama.AppendAsync(prefix, " and", cancellationToken: Cancellation);
            using Continuation one = await Llama.ContinueAsync(prefix, " and", s_short, cancellationToken: Cancellation);
            Continuation[] branches = await Llama.GenerateBranchesAsync(prefix, ["", " and", " said"], s_short with { NumReturnSequences = 3 }, cancellationToken: Cancellation);
            Array.ForEach(branches, branch => branch.Dispose());
            await foreach (Token token in Llama.GenerateAsync(prefix, " and", s_short, Cancellation))
            {
                if (token.FinishReason is not null)
                {
                    Assert.Equal(FinishReason.Length, token.FinishReason);
                }
            }

            (_, KvCache read) = await Llama.LogitsAsync(prefix.Tokens, 3, Cancellation);
            read.Dispose();
        });
    }

    [Fact]
    public async Task EightBitCacheLetsGoOfItsScalesToo()
    {
        using var folder = new TemporaryFolder();
        Llama eightBits = Tolstoy.EightBits;
        await Check(async () =>
        {
            using KvCache prefix = await eightBits.PrefillAsync(string.Concat(Enumerable.Repeat(Tolstoy.Prefix, 60)), cancellationToken: Cancellation);
            using Continuation one = await eightBits.ContinueAsync(prefix, " and", s_short, cancellationToken: Cancellation);
            one.Cache.Save(folder.File("state"), new() { FlushToDisk = false });
            using var mapped = KvCache.Load(folder.File("state"), eightBits);
            using var widened = KvCache.Load(folder.File("state"), Llama, new() { Convert = true });
            (TorchSharp.torch.Tensor key, TorchSharp.torch.Tensor value) = mapped.ToTensors(0);
            key.Dispose();
            value.Dispose();
        });
    }

    [Fact]
    public async Task StreamThatIsLeftEarlyLetsGo()
    {
        await Check(async () =>
        {
            using KvCache prefix = await Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            int count = 0;
            await foreach (Token token in Llama.GenerateAsync(prefix, " and", s_short with { MaxNewTokens = 400 }, Cancellation))
            {
                Assert.InRange(token.Id, 0, 4095);
                if (++count == 3)
                {
                    break;
                }
            }
        });
    }

    [Fact]
    public async Task StreamMayBeEnumeratedAfterItsPrefixWasDisposedAndNeedNotBe()
    {
        await Check(async () =>
        {
            KvCache prefix = await Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            IAsyncEnumerable<Token> stream = Llama.GenerateAsync(prefix, " and", s_short, Cancellation);
            Forget(prefix);
            prefix.Dispose();
            List<int> ids = [];
            await foreach (Token token in stream)
            {
                ids.Add(token.Id);
            }

            Assert.Equal(6, ids.Count);
            await Assert.ThrowsAsync<ObjectDisposedException>(async () => await stream.GetAsyncEnumerator(Cancellation).MoveNextAsync());
        });

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        static void Forget(KvCache prefix) => Assert.NotNull(Llama.GenerateAsync(prefix, "never read", s_short));
    }

    [Fact]
    public async Task CallsThatAreCancelledAnywhereLetGo()
    {
        var random = new Random(5);
        await Check(async () =>
        {
            using KvCache prefix = await Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            for (int i = 0; i < 24; i++)
            {
                using var cancel = new CancellationTokenSource(TimeSpan.FromMilliseconds(random.NextDouble() * 25));
                GenerationOptions options = s_short with { MaxNewTokens = 200, NumReturnSequences = i % 2 + 1, KeepOnCancel = i % 3 == 0 };
                try
                {
                    switch (i % 3)
                    {
                        case 0:
                            Array.ForEach(await Llama.GenerateBranchesAsync(prefix, [" and", " said"], options, cancellationToken: cancel.Token), branch => branch.Dispose());
                            break;
                        case 1:
                            (await Llama.ContinueAsync(prefix, " and", options, cancellationToken: cancel.Token)).Dispose();
                            break;
                        default:
                            (await Llama.PrefillAsync(string.Concat(Enumerable.Repeat(Tolstoy.Prefix, 60)), cancellationToken: cancel.Token)).Dispose();
                            break;
                    }
                }
                catch (OperationCanceledException e)
                {
                    Assert.Equal(cancel.Token, e.CancellationToken);
                }
            }
        });
    }

    [Fact]
    public async Task CallbackThatThrowsEndsTheCallAndLetsGo()
    {
        await Check(async () =>
        {
            using KvCache prefix = await Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            await Assert.ThrowsAsync<FormatException>(() => Llama.ContinueAsync(prefix, " and", s_short, _ => throw new FormatException(), cancellationToken: Cancellation));
            await Assert.ThrowsAsync<FormatException>(() => Llama.GenerateBranchesAsync(prefix, [" and", " said"], s_short, (index, _) => throw new FormatException($"{index}"), Cancellation));
            await Assert.ThrowsAsync<FormatException>(() => Llama.PrefillAsync(Tolstoy.Prefix, progress: new Throwing(), cancellationToken: Cancellation));
        });
    }

    [Fact]
    public async Task CallsThatAreRefusedLetGo()
    {
        using var folder = new TemporaryFolder();
        await Check(async () =>
        {
            using KvCache prefix = await Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            prefix.Save(folder.File("state"));
            await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.ContinueAsync(prefix, [99999], s_short, cancellationToken: Cancellation));
            await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.GenerateBranchesAsync(prefix, [" and", string.Concat(Enumerable.Repeat(" and", 5000))], s_short, cancellationToken: Cancellation));
            await Assert.ThrowsAsync<PrefixTorchException>(() => Tolstoy.AsStored.ContinueAsync(prefix, " and", s_short, cancellationToken: Cancellation));
            Assert.ThrowsAny<PrefixTorchException>(() => prefix.Save(folder.File("none/state")));
            Assert.ThrowsAny<PrefixTorchException>(() => KvCache.Load(folder.File("none"), Llama));
            Assert.ThrowsAny<PrefixTorchException>(() => KvCache.Load(folder.File("state"), Tolstoy.AsStored));
            byte[] bytes = await File.ReadAllBytesAsync(folder.File("state"), Cancellation);
            bytes[^1] ^= 1;
            await File.WriteAllBytesAsync(folder.File("flipped"), bytes, Cancellation);
            Assert.ThrowsAny<PrefixTorchException>(() => KvCache.Load(folder.File("flipped"), Llama));
        });
    }

    [Fact]
    public async Task ModelThatIsDisposedLeavesNothingBehind()
    {
        await Check(async () =>
        {
            Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { Threads = 1 }, Cancellation);
            using KvCache prefix = await llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            Task<Continuation> running = llama.ContinueAsync(prefix, "", s_short with { MaxNewTokens = 4000 }, cancellationToken: Cancellation);
            llama.Dispose();
            await Assert.ThrowsAsync<ObjectDisposedException>(() => running);
            await Assert.ThrowsAsync<ObjectDisposedException>(() => llama.ContinueAsync(prefix, "", s_short, cancellationToken: Cancellation));
            Assert.Equal(prefix.Tokens, prefix.Clone().Tokens[..prefix.Length]);
            prefix.Children.Single().Dispose();
        });
    }

    [Fact]
    public void CacheMayBeDisposedWhileAPassReadsIt()
    {
        using var model = new Parity.TestModel(Parity.Golden.Checkpoint("mqa"), "portable");
        int before = KvBuffer.LiveCount;
        var cache = new KvCache(model);
        model.Append(cache, [1, 2, 3]);
        using (KvAppend append = cache.BeginAppend([4], new TokenOrigin[1]))
        {
            cache.Dispose();
            Assert.Equal(before + 1, KvBuffer.LiveCount);
            Assert.Throws<ObjectDisposedException>(() => append.Commit(null));
        }

        Assert.Equal(before, KvBuffer.LiveCount);
    }

    [Fact]
    public async Task AModelLetsGoOfItsWeightsHoweverTheyLie()
    {
        await Check(async () =>
        {
            foreach (LoadMode mode in Enum.GetValues<LoadMode>())
            {
                using Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { Load = mode }, Cancellation);
                using KvCache cache = await llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            }
        });
    }

    [Fact]
    public async Task AModelThatCannotBeLoadedLetsGo()
    {
        using var folder = new TemporaryFolder();
        foreach (string file in Directory.GetFiles(Repository.TinyTolstoy))
        {
            File.Copy(file, Path.Combine(folder.Path, Path.GetFileName(file)));
        }

        await File.WriteAllTextAsync(Path.Combine(folder.Path, "tokenizer.json"), "{", Cancellation);
        await Check(() => Assert.ThrowsAsync<PrefixTorch.Tokenization.TokenizerException>(() => Llama.LoadAsync(folder.Path, new() { Load = LoadMode.Copy }, Cancellation)));
    }

    private static async Task Check(Func<Task> calls)
    {
        // Once before counting: the models load, and their working memory grows to its size.
        await calls();
        Collect();
        (int buffers, long bytes, int blocks) = (KvBuffer.LiveCount, NativeBlock.LiveBytes, NativeBlock.LiveCount);
        await calls();
        Collect();
        Assert.Equal((buffers, bytes, blocks), (KvBuffer.LiveCount, NativeBlock.LiveBytes, NativeBlock.LiveCount));
    }

    private static void Collect()
    {
        for (int i = 0; i < 2; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }

    private sealed class Throwing : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value) => throw new FormatException();
    }
}

using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Sampling;
using PrefixTorch.Tests.Caching;

namespace PrefixTorch.Tests.Generation;

/// <summary>Branches of one prefix: each is what it would be alone, and ends alone.</summary>
public sealed class BranchTests
{
    private static readonly string[] s_suffixes = ["", " and said", ", who had been standing at the window for a long time without a word", " x"];
    private static readonly GenerationOptions s_sampled = new() { Temperature = 1, TopK = 400, Seed = 5, MaxNewTokens = 14 };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static TheoryData<string> Models => ["float32", "as stored", "8-bit cache"];

    [Theory]
    [MemberData(nameof(Models))]
    public async Task BranchesAreTheSameAloneAndTogether(string model)
    {
        Llama llama = model switch
        {
            "float32" => Tolstoy.Fp32,
            "as stored" => Tolstoy.AsStored,
            _ => Tolstoy.EightBits,
        };
        using KvCache prefix = await llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        foreach (GenerationOptions options in new[] { s_sampled, s_sampled with { Temperature = null, TopK = null, Greedy = true } })
        {
            Continuation[] together = await llama.GenerateBranchesAsync(prefix, s_suffixes, options, cancellationToken: Cancellation);
            for (int i = 0; i < together.Length; i++)
            {
                using Continuation branch = together[i];
                using Continuation alone = await llama.ContinueAsync(prefix, s_suffixes[i], options with { Branch = i }, cancellationToken: Cancellation);
                Assert.Equal(alone.Ids, branch.Ids);
                Assert.Equal(alone.Text, branch.Text);
                Assert.Equal([.. branch.PromptIds, .. branch.Ids], branch.Cache.Tokens);
                Assert.Equal(alone.Report.Usage, branch.Report.Usage);
            }
        }
    }

    [Fact]
    public async Task TokensDoNotDependOnTheNumberOfThreads()
    {
        GenerationOptions options = new() { Temperature = 0.9f, TopP = 0.95f, Seed = 7, MaxNewTokens = 12, NumReturnSequences = 6, LogProbs = 2 };
        List<string> results = [];
        foreach (int threads in new[] { 1, 3 })
        {
            using Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { Threads = threads }, Cancellation);
            using KvCache prefix = await llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
            Continuation[] branches = await llama.GenerateBranchesAsync(prefix, ["", " and"], options, cancellationToken: Cancellation);
            results.Add(string.Join('\n', branches.SelectMany(branch => branch.Tokens).Select(token => $"{token.Id} {token.LogProb:R} {string.Join(' ', token.TopLogProbs!)}")));
            Array.ForEach(branches, branch => branch.Dispose());
        }

        Assert.Equal(results[0], results[1]);
    }

    [Fact]
    public async Task AStepOfBranchesDoesNotAllocateTheirLogits()
    {
        // With one thread a processor runs on the engine's, and sees what that has allocated from step to step.
        using Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { Threads = 1 }, Cancellation);
        using KvCache prefix = await llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        var allocations = new Allocations();
        GenerationOptions options = new() { Greedy = true, IgnoreEos = true, MaxNewTokens = 12, NumReturnSequences = 8, LogitsProcessors = [allocations] };
        Array.ForEach(await llama.GenerateBranchesAsync(prefix, [""], options, cancellationToken: Cancellation), branch => branch.Dispose());
        long[] steps = [.. allocations.Seen.Chunk(8).Select(step => step[0])];
        Assert.Equal(12, steps.Length);
        Assert.InRange(steps.Zip(steps.Skip(1), (before, after) => after - before).Min(), 1, 8 * llama.Config.VocabSize * sizeof(float) / 2);
    }

    [Fact]
    public async Task SamplesDifferByBranchAndAreTheSameForASeed()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        int[][] first = await Samples(s_sampled), second = await Samples(s_sampled), other = await Samples(s_sampled with { Seed = 6 });
        Assert.Equal(first, second);
        Assert.NotEqual(first, other);
        Assert.Equal(5, first.Select(ids => string.Join(' ', ids)).Distinct().Count());

        // Each alone, from another call.
        using Continuation third = await Tolstoy.Fp32.ContinueAsync(prefix, " and", s_sampled with { Branch = 2 }, cancellationToken: Cancellation);
        Assert.Equal(first[2], third.Ids);

        async Task<int[][]> Samples(GenerationOptions options)
        {
            Continuation[] samples = await Tolstoy.Fp32.GenerateBranchesAsync(prefix, [" and"], options with { NumReturnSequences = 5 }, cancellationToken: Cancellation);
            Assert.All(samples, sample => Assert.Equal(options.Seed, sample.Report.Seed));
            Array.ForEach(samples, sample => sample.Dispose());
            return [.. samples.Select(sample => sample.Ids)];
        }
    }

    [Fact]
    public async Task AnyCutAloneAsksForSampling()
    {
        foreach (GenerationOptions options in new GenerationOptions[] { new() { TopK = 5 }, new() { TopP = 0.9f }, new() { MinP = 0.1f }, new() { TypicalP = 0.9f }, new() { TopH = 0.9f }, new() { EpsilonCutoff = 0.01f }, new() { EtaCutoff = 0.01f } })
        {
            using Continuation sampled = await Tolstoy.Fp32.ContinueAsync(null, "He", options with { MaxNewTokens = 1 }, cancellationToken: Cancellation);
            Assert.NotNull(sampled.Report.Seed);
        }
    }

    [Fact]
    public async Task AProposalOutOfRangeIsNamedWithItsFile()
    {
        using var folder = new Cli.TemporaryFolder();
        string file = folder.Write("g.json", """{"do_sample": true, "top_p": 1.5}""");
        using Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { GenerationConfigFile = file }, Cancellation);
        var error = await Assert.ThrowsAsync<PrefixTorchException>(async () => await llama.ContinueAsync(null, "He", new() { MaxNewTokens = 1 }, cancellationToken: Cancellation));
        Assert.Contains("generation_config.json: TopP is 1.5; it must be between 0 and 1", error.Message, StringComparison.Ordinal);
        using Continuation given = await llama.ContinueAsync(null, "He", new() { MaxNewTokens = 1, TopP = 0.5f }, cancellationToken: Cancellation);
        Assert.Single(given.Ids);
    }

    [Fact]
    public async Task SamplesOfNothingNewComputeNoPrompt()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        Continuation[] samples = await Tolstoy.Fp32.GenerateBranchesAsync(prefix, [""], s_sampled with { NumReturnSequences = 4 }, cancellationToken: Cancellation);
        Assert.All(samples, sample => Assert.Equal((0, prefix.Length), (sample.Report.Usage.ComputedTokens, sample.Report.Usage.ReusedTokens)));
        Assert.All(samples, sample => Assert.Equal(prefix.ByteCount, sample.Report.SharedBytes));

        // One prefix and four tails.
        HashSet<KvBuffer> buffers = [.. samples.Select(sample => sample.Cache).Append(prefix).SelectMany(cache => cache.Segments).Select(segment => segment.Buffer)];
        Assert.InRange(buffers.Count, 1, 5);
        Array.ForEach(samples, sample => sample.Dispose());
    }

    [Fact]
    public async Task TheFirstSampleCountsTheReadingThatAllShare()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync("Prince And", cancellationToken: Cancellation);
        using Continuation alone = await Tolstoy.Fp32.ContinueAsync(prefix, "rew", s_sampled, cancellationToken: Cancellation);
        Assert.NotNull(alone.Report.Reuse);
        Continuation[] samples = await Tolstoy.Fp32.GenerateBranchesAsync(prefix, ["rew"], s_sampled with { NumReturnSequences = 2 }, cancellationToken: Cancellation);
        Assert.All(samples, sample => Assert.Equal(alone.Report.Reuse, sample.Report.Reuse));
        Assert.Equal(alone.Report.Usage, samples[0].Report.Usage);
        Assert.Equal((alone.PromptIds.Length, alone.PromptIds.Length, 0), (samples[1].Report.Usage.PromptTokens, samples[1].Report.Usage.ReusedTokens, samples[1].Report.Usage.ComputedTokens));
        Array.ForEach(samples, sample => sample.Dispose());
    }

    [Fact]
    public async Task BranchesOfAStoppedRunGoOnAlikeEach()
    {
        // Penalties and a minimum length count from where the stopped run began, in every branch and sample.
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        List<int> generated = [];
        GenerationOptions greedy = new() { Greedy = true, MaxNewTokens = 8, FrequencyPenalty = 2, PresencePenalty = 1, MinNewTokens = 4, LogitsProcessors = [new Watcher(generated)] };
        using Continuation stopped = await Tolstoy.Fp32.ContinueAsync(prefix, "", greedy with { LogitsProcessors = null }, cancellationToken: Cancellation);
        using Continuation alone = await Tolstoy.Fp32.ContinueAsync(stopped.Cache, "", greedy, cancellationToken: Cancellation);
        Assert.Equal(Enumerable.Range(8, 8), generated);
        foreach (string[] suffixes in new string[][] { ["", ""], [""] })
        {
            generated.Clear();
            Continuation[] branches = await Tolstoy.Fp32.GenerateBranchesAsync(stopped.Cache, suffixes, greedy with { NumReturnSequences = 3 - suffixes.Length }, cancellationToken: Cancellation);
            Assert.Equal(2, branches.Length);
            Assert.All(branches, branch => Assert.Equal(alone.Ids, branch.Ids));
            Assert.Equal(Enumerable.Range(8, 8).SelectMany(count => new[] { count, count }), generated.Order());
            Array.ForEach(branches, branch => branch.Dispose());
        }
    }

    [Fact]
    public async Task CutBackToItsPromptAStoppedRunIsForgotten()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        GenerationOptions random = s_sampled with { Seed = null };
        using Continuation first = await Tolstoy.Fp32.ContinueAsync(prefix, "", random, cancellationToken: Cancellation);
        using KvCache cut = first.Cache.Clone();
        cut.Truncate(prefix.Length + 1);
        Assert.NotNull(cut.Run);
        cut.Truncate(prefix.Length);
        Assert.Null(cut.Run);
        using Continuation again = await Tolstoy.Fp32.ContinueAsync(cut, "", random, cancellationToken: Cancellation);
        Assert.NotEqual(first.Report.Seed, again.Report.Seed);
    }

    [Fact]
    public async Task BranchesHaveOptionsOfTheirOwn()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        List<(int Index, int Id)> seen = [];
        Continuation[] branches = await Tolstoy.Fp32.GenerateBranchesAsync(
            prefix,
            [new BranchRequest("") { Options = new() { Greedy = true, MaxNewTokens = 3 } }, new BranchRequest(" and"), new BranchRequest("") { Options = new() { Greedy = true, MaxNewTokens = 0 } }],
            s_sampled,
            (index, token) => seen.Add((index, token.Id)),
            Cancellation);
        Assert.Equal([3, 14, 0], branches.Select(branch => branch.Ids.Length));
        for (int i = 0; i < branches.Length; i++)
        {
            Assert.Equal(branches[i].Ids, seen.Where(pair => pair.Index == i).Select(pair => pair.Id));
            branches[i].Dispose();
        }
    }

    [Fact]
    public async Task OneBranchIsCancelledAlone()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        using var cancel = new CancellationTokenSource();
        Continuation[] branches = await Tolstoy.Fp32.GenerateBranchesAsync(
            prefix,
            [new BranchRequest("") { CancellationToken = cancel.Token, Options = s_sampled with { MaxNewTokens = 3000, IgnoreEos = true } }, new BranchRequest("")],
            s_sampled,
            (index, _) =>
            {
                if (index == 0)
                {
                    cancel.Cancel();
                }
            },
            Cancellation);
        Assert.Equal([FinishReason.Cancelled, FinishReason.Length], branches.Select(branch => branch.FinishReason));
        Assert.InRange(branches[0].Ids.Length, 1, 2999);
        Assert.Equal([.. branches[0].PromptIds, .. branches[0].Ids], branches[0].Cache.Tokens);

        // What there is can be continued.
        using Continuation more = await Tolstoy.Fp32.ContinueAsync(branches[0].Cache, "", s_sampled, cancellationToken: Cancellation);
        Assert.Equal(14, more.Ids.Length);
        Array.ForEach(branches, branch => branch.Dispose());
    }

    [Fact]
    public async Task BranchOfManySamplesIsCancelledWhileItsSuffixIsRead()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        using var cancel = new CancellationTokenSource();
        await cancel.CancelAsync();
        string text = string.Concat(Enumerable.Repeat(" and said nothing", 300));
        Continuation[] branches = await Tolstoy.Fp32.GenerateBranchesAsync(
            prefix,
            [new BranchRequest(text) { CancellationToken = cancel.Token, Options = s_sampled with { NumReturnSequences = 2 } }, new BranchRequest(" and")],
            s_sampled,
            cancellationToken: Cancellation);
        Assert.Equal([FinishReason.Cancelled, FinishReason.Cancelled, FinishReason.Length], branches.Select(branch => branch.FinishReason));
        Assert.Empty(branches[0].Ids);
        Assert.InRange(branches[0].Cache.Length, 0, prefix.Length + 512);
        using Continuation alone = await Tolstoy.Fp32.ContinueAsync(prefix, " and", s_sampled with { Branch = 2 }, cancellationToken: Cancellation);
        Assert.Equal(alone.Ids, branches[2].Ids);
        Array.ForEach(branches, branch => branch.Dispose());

        // The prompt is the whole one, and of what was to be read the rest does not count as computed.
        Continuation[] late = await Tolstoy.Fp32.GenerateBranchesAsync(prefix, [new BranchRequest(text) { CancellationToken = cancel.Token, Options = s_sampled }, new BranchRequest(text) { CancellationToken = cancel.Token, Options = s_sampled with { NumReturnSequences = 2 } }], s_sampled, cancellationToken: Cancellation);
        Assert.All(late, branch => Assert.Equal(late[0].PromptIds, branch.PromptIds));
        Assert.All(late, branch => Assert.Equal(branch.Cache.Length - branch.Report.Usage.ReusedTokens, branch.Report.Usage.ComputedTokens));
        Array.ForEach(late, branch => branch.Dispose());

        // Also where the logits after the last token are not known: nothing of the prefix is lost.
        using KvCache cut = prefix.Clone();
        cut.Truncate(cut.Length - 1);
        Continuation[] ofCut = await Tolstoy.Fp32.GenerateBranchesAsync(cut, [new BranchRequest("") { CancellationToken = cancel.Token }, new BranchRequest(text) { CancellationToken = cancel.Token, Options = s_sampled with { NumReturnSequences = 2 } }], s_sampled, cancellationToken: Cancellation);
        Assert.All(ofCut, branch => Assert.Equal((cut.Length, cut.Length, 0), (branch.Cache.Length, branch.Report.Usage.ReusedTokens, branch.Report.Usage.ComputedTokens)));
        Array.ForEach(ofCut, branch => branch.Dispose());

        // With the whole call it throws, as ever.
        BranchRequest patient = new(text) { CancellationToken = cancel.Token, Options = s_sampled with { NumReturnSequences = 2 } };
        using var all = new CancellationTokenSource();
        await all.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Tolstoy.Fp32.GenerateBranchesAsync(prefix, [patient, new BranchRequest(" and")], s_sampled, cancellationToken: all.Token));

        // Unless it, or each branch, is to keep what there is, also while many samples' suffix is read.
        GenerationOptions keeping = s_sampled with { KeepOnCancel = true, NumReturnSequences = 2 };
        foreach ((BranchRequest branch, GenerationOptions? call) in new[] { (new BranchRequest(text), keeping), (new BranchRequest(text) { Options = keeping }, (GenerationOptions?)null) })
        {
            Continuation[] kept = await Tolstoy.Fp32.GenerateBranchesAsync(prefix, [branch], call, cancellationToken: all.Token);
            Assert.All(kept, one => Assert.Equal(FinishReason.Cancelled, one.FinishReason));
            Array.ForEach(kept, one => one.Dispose());
        }
    }

    [Fact]
    public async Task CancelledCallKeepsWhatThereIsWhenAsked()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        using var cancel = new CancellationTokenSource();
        GenerationOptions endless = s_sampled with { MaxNewTokens = 3000, IgnoreEos = true };
        using (Continuation kept = await Tolstoy.Fp32.ContinueAsync(prefix, "", endless with { KeepOnCancel = true }, _ => cancel.Cancel(), cancellationToken: cancel.Token))
        {
            Assert.Equal(FinishReason.Cancelled, kept.FinishReason);
            Assert.InRange(kept.Ids.Length, 1, 2999);
            Assert.Equal([.. prefix.Tokens, .. kept.Ids], kept.Cache.Tokens);
        }

        using var second = new CancellationTokenSource();
        var thrown = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Tolstoy.Fp32.ContinueAsync(prefix, "", endless, _ => second.Cancel(), cancellationToken: second.Token));
        Assert.Equal(second.Token, thrown.CancellationToken);
    }

    [Fact]
    public async Task StopTextIsFoundAcrossTokensAndIdsHoldItsWholeTokens()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        GenerationOptions greedy = new() { Greedy = true, MaxNewTokens = 24 };
        using Continuation whole = await Tolstoy.Fp32.ContinueAsync(prefix, "", greedy, cancellationToken: Cancellation);

        // From the middle of one token to the middle of another.
        int start = whole.Tokens[4].Text.Length / 2 + string.Concat(whole.Tokens.Take(4).Select(token => token.Text)).Length;
        int end = string.Concat(whole.Tokens.Take(7).Select(token => token.Text)).Length - 1;
        string stop = whole.Text[start..end];
        Assert.True(stop.Length > 1);
        int at = whole.Text.IndexOf(stop, StringComparison.Ordinal);
        using Continuation stopped = await Tolstoy.Fp32.ContinueAsync(prefix, "", greedy with { Stop = ["never said", stop] }, cancellationToken: Cancellation);
        Assert.Equal(FinishReason.Stop, stopped.FinishReason);
        Assert.Equal(whole.Text[..at], stopped.Text);
        Assert.Equal(stopped.Text, string.Concat(stopped.Tokens.Select(token => token.Text)));
        Assert.Equal(whole.Ids[..stopped.Ids.Length], stopped.Ids);
        Assert.Equal([.. prefix.Tokens, .. stopped.Ids], stopped.Cache.Tokens);
        Assert.True(Tolstoy.Fp32.Tokenizer.Decode(stopped.Ids).Length >= at + stop.Length);
    }

    [Fact]
    public async Task EndTokenEndsAndIsKeptInTheIds()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        GenerationOptions greedy = new() { Greedy = true, MaxNewTokens = 10 };
        using Continuation whole = await Tolstoy.Fp32.ContinueAsync(prefix, "", greedy, cancellationToken: Cancellation);
        int eos = whole.Ids[4], first = Array.IndexOf(whole.Ids, eos);
        using Continuation ended = await Tolstoy.Fp32.ContinueAsync(prefix, "", greedy with { EosTokenIds = [eos] }, cancellationToken: Cancellation);
        Assert.Equal(FinishReason.Eos, ended.FinishReason);
        Assert.Equal(whole.Ids[..(first + 1)], ended.Ids);
        using Continuation ignored = await Tolstoy.Fp32.ContinueAsync(prefix, "", greedy with { EosTokenIds = [eos], IgnoreEos = true }, cancellationToken: Cancellation);
        Assert.Equal(whole.Ids, ignored.Ids);
    }

    [Fact]
    public async Task CallsFromManyThreadsAreEachWhatTheyAreAlone()
    {
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        int[][] alone = [.. await Task.WhenAll(s_suffixes.Select(Ids))];
        await Parallel.ForAsync(0, 24, Cancellation, async (i, _) =>
        {
            using KvCache own = prefix.Clone();
            using Continuation one = await Tolstoy.Fp32.ContinueAsync(own, s_suffixes[i % s_suffixes.Length], s_sampled, cancellationToken: Cancellation);
            Assert.Equal(alone[i % s_suffixes.Length], one.Ids);
        });

        async Task<int[]> Ids(string suffix)
        {
            using Continuation one = await Tolstoy.Fp32.ContinueAsync(prefix, suffix, s_sampled, cancellationToken: Cancellation);
            return one.Ids;
        }
    }

    private sealed class Allocations : LogitsProcessor
    {
        public List<long> Seen { get; } = [];

        public override void Process(Span<float> scores, LogitsContext context) => Seen.Add(GC.GetAllocatedBytesForCurrentThread());
    }

    /// <summary>Notes how many generated tokens it is shown, and changes nothing.</summary>
    private sealed class Watcher(List<int> counts) : LogitsProcessor
    {
        public override void Process(Span<float> scores, LogitsContext context)
        {
            lock (counts)
            {
                counts.Add(context.GeneratedIds.Length);
            }
        }
    }
}

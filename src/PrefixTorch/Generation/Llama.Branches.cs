using PrefixTorch.Caching;

namespace PrefixTorch.Generation;

/// <summary>One branch of a batch.</summary>
/// <param name="Suffix">Text to read first; may be empty.</param>
public sealed record BranchRequest(string Suffix)
{
    /// <summary>How this branch continues; null: as the call says.</summary>
    public GenerationOptions? Options { get; init; }

    /// <summary>Ends this branch alone: its result has <see cref="FinishReason.Cancelled"/> and what there is.</summary>
    public CancellationToken CancellationToken { get; init; }
}

/// <content>Many continuations of one prefix, side by side.</content>
public sealed partial class Llama
{
    /// <summary>
    /// Continues a prefix with every suffix, <see cref="GenerationOptions.NumReturnSequences"/> times each, all in one batch that reads
    /// the prefix's keys once. Each result is what the branch alone would have given.
    /// </summary>
    /// <param name="prefix">Where to continue from.</param>
    /// <param name="suffixes">Texts to read first; may be empty.</param>
    /// <param name="options">How to continue.</param>
    /// <param name="onToken">Called with the result's index and each of its tokens; never twice at a time.</param>
    /// <param name="cancellationToken">Ends all branches.</param>
    /// <returns>In the order of the suffixes, then of the samples. The caller disposes each.</returns>
    /// <exception cref="OperationCanceledException">Cancelled, and not asked to keep what there is.</exception>
    public Task<Continuation[]> GenerateBranchesAsync(KvCache prefix, IReadOnlyList<string> suffixes, GenerationOptions? options = null, Action<int, Token>? onToken = null, CancellationToken cancellationToken = default) =>
        GenerateBranchesAsync(prefix, [.. suffixes.Select(suffix => new BranchRequest(suffix))], options, onToken, cancellationToken);

    /// <summary>Continues a prefix with branches that have options and cancellation of their own.</summary>
    /// <inheritdoc cref="GenerateBranchesAsync(KvCache, IReadOnlyList{string}, GenerationOptions?, Action{int, Token}?, CancellationToken)"/>
    public async Task<Continuation[]> GenerateBranchesAsync(KvCache prefix, IReadOnlyList<BranchRequest> branches, GenerationOptions? options = null, Action<int, Token>? onToken = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        ArgumentNullException.ThrowIfNull(branches);
        GenerationOptions shared = Resolve(options);
        GenerationOptions[] resolved = [.. branches.Select(branch => branch.Options is null ? shared : Resolve(branch.Options))];
        using KvCache held = prefix.CloneFor(this);
        CheckOwner(prefix);
        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);

        // Samples of one suffix are drawn from one reading of it.
        var read = new SequenceRun?[branches.Count];
        ulong random = Sampling.Sampler.RandomSeed();
        int resumed = 0;
        List<SequenceRun> runs = [];
        List<GenerationOptions> optionsOf = [];
        List<CancellationTokenSource> sources = [];
        try
        {
            await Task.WhenAll(branches.Select(async (branch, i) =>
            {
                if (resolved[i].NumReturnSequences > 1 && branch.Suffix.Length > 0)
                {
                    // Cancelled alone, what was read is kept, and its samples end before they begin.
                    using var own = CancellationTokenSource.CreateLinkedTokenSource(cancel.Token, branch.CancellationToken);
                    PrefillOptions reading = new() { Boundary = resolved[i].Boundary, ParseSpecial = resolved[i].ParseSpecial, KeepOnCancel = resolved[i].KeepOnCancel || branch.CancellationToken.CanBeCanceled };
                    try
                    {
                        read[i] = await RunToReadAsync(held, Prompt.Of(branch.Suffix), reading, null, own.Token, cancellationToken).ConfigureAwait(false);
                    }
                    catch
                    {
                        // What the others would read is of no use then.
                        await cancel.CancelAsync().ConfigureAwait(false);
                        throw;
                    }
                }
            })).ConfigureAwait(false);

            for (int i = 0; i < branches.Count; i++)
            {
                Prompt suffix = Prompt.Of(read[i] is null ? branches[i].Suffix : "");
                for (int n = 0; n < resolved[i].NumReturnSequences; n++)
                {
                    // Branches count up from the call's first; those that go on with a run that stopped, from that run's own.
                    bool resumes = branches[i].Suffix.Length == 0 && resolved[i].Seed is null && held.Run?.Seed is not null;
                    GenerationOptions own = (resolved[i] with { Branch = resolved[i].Branch + (resumes ? resumed++ : runs.Count) }).Seeded(resumes ? held.Run : null, random);
                    sources.Add(CancellationTokenSource.CreateLinkedTokenSource(cancel.Token, branches[i].CancellationToken));
                    runs.Add(Run(read[i]?.Cache ?? held, suffix, own, own.Boundary, own.ParseSpecial, null, sources[^1].Token, read[i], countsReading: n == 0));
                    optionsOf.Add(own);
                }
            }
        }
        catch
        {
            runs.ForEach(run => run.Cache.Dispose());
            sources.ForEach(source => source.Dispose());
            throw;
        }
        finally
        {
            foreach (SequenceRun? reading in read)
            {
                reading?.Cache.Dispose();
            }
        }

        var gate = new Lock();
        Task<Continuation>[] finished;
        try
        {
            _engine.Submit([.. runs]);

            // Cancelled alone, a branch keeps what it has; cancelled with all, as the options say.
            finished = [.. runs.Select((run, i) => FinishAsync(run, optionsOf[i] with { KeepOnCancel = true }, onToken is null ? null : token => Report(i, token), sources[i], cancellationToken))];
            await Task.WhenAll(finished.Select(CancelOthersOnError)).ConfigureAwait(false);
            if (cancellationToken.IsCancellationRequested && finished.Where((task, i) => !optionsOf[i].KeepOnCancel && task.Result.FinishReason == FinishReason.Cancelled).Any())
            {
                DisposeFinished();
                throw new OperationCanceledException(cancellationToken);
            }

            return [.. finished.Select(task => task.Result)];
        }
        finally
        {
            sources.ForEach(source => source.Dispose());
        }

        void Report(int index, Token token)
        {
            lock (gate)
            {
                onToken(index, token);
            }
        }

        async Task CancelOthersOnError(Task<Continuation> task)
        {
            try
            {
                await task.ConfigureAwait(false);
            }
            catch
            {
                await cancel.CancelAsync().ConfigureAwait(false);
                await Task.WhenAll(finished).ContinueWith(_ => DisposeFinished(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default).ConfigureAwait(false);
                throw;
            }
        }

        void DisposeFinished()
        {
            foreach (Task<Continuation> task in finished.Where(task => task.IsCompletedSuccessfully))
            {
                task.Result.Dispose();
            }
        }
    }
}

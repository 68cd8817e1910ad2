using System.Runtime.CompilerServices;
using PrefixTorch.Caching;
using PrefixTorch.Memory;

namespace PrefixTorch.Generation;

/// <content>Reading and continuing.</content>
public sealed partial class Llama
{
    /// <summary>Reads a prompt. The caller disposes the cache.</summary>
    /// <param name="prompt">Text; a beginning-of-sequence token is put first where the tokenizer asks for one.</param>
    /// <param name="options">How the text is read.</param>
    /// <param name="progress">
    /// Told of the tokens read, chunk by chunk, on the caller's side: in order, never twice at a time, and of the last before the call ends. A slow one holds up
    /// its own call alone, and misses reports in between. What it throws ends the call.
    /// </param>
    /// <param name="cancellationToken">Ends the reading, between layers.</param>
    /// <exception cref="OperationCanceledException">Cancelled, and not asked to keep what was read.</exception>
    /// <exception cref="PrefixTorchException">The prompt is longer than the model's context.</exception>
    public Task<KvCache> PrefillAsync(string prompt, PrefillOptions? options = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default) =>
        ReadAsync(null, Prompt.Of(prompt), options ?? new(), progress, cancellationToken);

    /// <summary>Reads a prompt of token ids, as they are. The caller disposes the cache.</summary>
    /// <inheritdoc cref="PrefillAsync(string, PrefillOptions?, IProgress{PrefillProgress}?, CancellationToken)"/>
    public Task<KvCache> PrefillAsync(int[] ids, PrefillOptions? options = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default) =>
        ReadAsync(null, Prompt.Of(ids), options ?? new(), progress, cancellationToken);

    /// <summary>Reads more text behind a prefix, into a cache of its own. The caller disposes it.</summary>
    /// <inheritdoc cref="PrefillAsync(string, PrefillOptions?, IProgress{PrefillProgress}?, CancellationToken)"/>
    public Task<KvCache> AppendAsync(KvCache prefix, string text, PrefillOptions? options = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default) =>
        ReadAsync(prefix, Prompt.Of(text), options ?? new(), progress, cancellationToken);

    /// <summary>Reads more token ids behind a prefix, into a cache of its own. The caller disposes it.</summary>
    /// <inheritdoc cref="PrefillAsync(string, PrefillOptions?, IProgress{PrefillProgress}?, CancellationToken)"/>
    public Task<KvCache> AppendAsync(KvCache prefix, int[] ids, PrefillOptions? options = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default) =>
        ReadAsync(prefix, Prompt.Of(ids), options ?? new(), progress, cancellationToken);

    /// <summary>Continues a prefix with a suffix, token by token. The prefix stays as it was; leaving the loop ends the generation.</summary>
    /// <param name="prefix">Where to continue from.</param>
    /// <param name="suffix">Text to read first; may be empty.</param>
    /// <param name="options">How to continue.</param>
    /// <param name="cancellationToken">Ends the generation.</param>
    /// <returns>
    /// The tokens; the last one carries the report. Cancelled with <see cref="GenerationOptions.KeepOnCancel"/>, the stream ends without a report and without
    /// text that was held back. Every enumeration is a generation of its own.
    /// </returns>
    public IAsyncEnumerable<Token> GenerateAsync(KvCache prefix, string suffix = "", GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        CheckOwner(prefix);
        GenerationOptions resolved = Resolve(options);
        var prompt = Prompt.Of(suffix);
        return new TokenStream(prefix.CloneFor(this), prefix, from => StreamAsync(from, prompt, resolved, cancellationToken));
    }

    /// <summary>Continues a prompt, token by token.</summary>
    /// <inheritdoc cref="GenerateAsync(KvCache, string, GenerationOptions?, CancellationToken)"/>
    public IAsyncEnumerable<Token> GenerateAsync(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        StreamAsync(null, Prompt.Of(prompt), Resolve(options), cancellationToken);

    /// <summary>Continues a prefix with a suffix, and gives the result with its state. The caller disposes it.</summary>
    /// <param name="prefix">Where to continue from; null: from nothing.</param>
    /// <param name="suffix">Text to read first; may be empty where there is a prefix.</param>
    /// <param name="options">How to continue.</param>
    /// <param name="onToken">Called with each token, on the caller's side.</param>
    /// <param name="progress">Told of the prompt's tokens read, likewise; of the last before the first token. A slow one misses reports in between.</param>
    /// <param name="cancellationToken">Ends the generation.</param>
    /// <exception cref="OperationCanceledException">Cancelled, and not asked to keep what there is.</exception>
    public Task<Continuation> ContinueAsync(KvCache? prefix, string suffix, GenerationOptions? options = null, Action<Token>? onToken = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default) =>
        ContinueAsync(prefix, Prompt.Of(suffix), Resolve(options), onToken, progress, cancellationToken);

    /// <summary>Continues a prefix with token ids, and gives the result with its state. The caller disposes it.</summary>
    /// <inheritdoc cref="ContinueAsync(KvCache?, string, GenerationOptions?, Action{Token}?, IProgress{PrefillProgress}?, CancellationToken)"/>
    public Task<Continuation> ContinueAsync(KvCache? prefix, int[] suffix, GenerationOptions? options = null, Action<Token>? onToken = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default) =>
        ContinueAsync(prefix, Prompt.Of(suffix), Resolve(options), onToken, progress, cancellationToken);

    /// <summary>
    /// Logits after every one of <paramref name="ids"/>, <c>[T, V]</c> fp32 row-major, and the cache of them all, which the caller disposes.
    /// </summary>
    /// <param name="ids">The tokens.</param>
    /// <param name="prefixLength">The first so many go into a cache that is cloned; the rest continues the clone.</param>
    /// <param name="cancellationToken">Ends it, between layers.</param>
    public async Task<(float[] Logits, KvCache Cache)> LogitsAsync(int[] ids, int prefixLength = 0, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(ids);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(prefixLength, ids.Length);
        ArgumentOutOfRangeException.ThrowIfNegative(prefixLength);
        CheckIds(ids, 0);
        using var prefix = new KvCache(this);
        List<float[]> logits = [];
        await ReadRowsAsync(prefix, ids[..prefixLength], logits, cancellationToken).ConfigureAwait(false);
        KvCache rest = prefix.Clone();
        try
        {
            await ReadRowsAsync(rest, ids[prefixLength..], logits, cancellationToken).ConfigureAwait(false);
            return ([.. logits.SelectMany(row => row)], rest);
        }
        catch
        {
            rest.Dispose();
            throw;
        }
    }

    private async Task ReadRowsAsync(KvCache cache, int[] ids, List<float[]> logits, CancellationToken cancellationToken)
    {
        for (int done = 0; done < ids.Length;)
        {
            int first = done, count = Math.Min(ids.Length - done, Options.PrefillChunk - cache.Length % Options.PrefillChunk);
            logits.Add(await _engine.CallAsync(() => _engine.Compute(cache, ids.AsSpan(first, count), new TokenOrigin[count], firstLogits: 0, cancellation: cancellationToken)).ConfigureAwait(false));
            done += count;
        }
    }

    private async Task<KvCache> ReadAsync(KvCache? prefix, Prompt prompt, PrefillOptions options, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken) =>
        (await RunToReadAsync(prefix, prompt, options, progress, cancellationToken, cancellationToken).ConfigureAwait(false)).Cache;

    // The caller disposes the run's cache. What is thrown where it was cancelled names the caller's token.
    private async Task<SequenceRun> RunToReadAsync(KvCache? prefix, Prompt prompt, PrefillOptions options, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken, CancellationToken callers)
    {
        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        SequenceRun run = Run(prefix, prompt, null, options.Boundary, options.ParseSpecial, progress, cancel.Token);
        _engine.Submit(run);
        try
        {
            await run.DeliverProgressAsync().ConfigureAwait(false);
            return await run.Outcome.ConfigureAwait(false) == FinishReason.Cancelled && !options.KeepOnCancel
                ? throw new OperationCanceledException(callers)
                : run;
        }
        catch
        {
            await LetGoAsync(run, cancel).ConfigureAwait(false);
            throw;
        }
    }

    private GenerationOptions Resolve(GenerationOptions? options) => (options ?? new()).Resolve(GenerationConfig);

    private async IAsyncEnumerable<Token> StreamAsync(KvCache? prefix, Prompt prompt, GenerationOptions options, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var left = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        SequenceRun run = Run(prefix, prompt, options, options.Boundary, options.ParseSpecial, null, left.Token);
        try
        {
            _engine.Submit(run);
            await foreach (Token token in run.Tokens.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                yield return token;
            }

            if (await run.Outcome.ConfigureAwait(false) == FinishReason.Cancelled && !options.KeepOnCancel)
            {
                throw new OperationCanceledException(cancellationToken);
            }
        }
        finally
        {
            // Also when the consumer left the loop.
            await LetGoAsync(run, left).ConfigureAwait(false);
        }
    }

    private async Task<Continuation> ContinueAsync(KvCache? prefix, Prompt prompt, GenerationOptions options, Action<Token>? onToken, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken)
    {
        // Not awaited before the run is made: the prefix is cloned when the call returns its task.
        var cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            SequenceRun run = Run(prefix, prompt, options, options.Boundary, options.ParseSpecial, progress, cancel.Token);
            _engine.Submit(run);
            return await FinishAsync(run, options, onToken, cancel, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            cancel.Dispose();
        }
    }

    // Takes the outcome of a submitted run: its progress, its tokens, and its cache, or the error.
    private static async Task<Continuation> FinishAsync(SequenceRun run, GenerationOptions options, Action<Token>? onToken, CancellationTokenSource cancel, CancellationToken callers)
    {
        List<Token> tokens = [];
        try
        {
            await run.DeliverProgressAsync().ConfigureAwait(false);
            await foreach (Token token in run.Tokens.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                tokens.Add(token);
                onToken?.Invoke(token);
            }

            FinishReason reason = await run.Outcome.ConfigureAwait(false);
            if (reason == FinishReason.Cancelled && !options.KeepOnCancel)
            {
                throw new OperationCanceledException(callers);
            }

            return new Continuation(run.Cache, run.PromptIds, tokens, run.Text, reason, run.Report());
        }
        catch
        {
            await LetGoAsync(run, cancel).ConfigureAwait(false);
            throw;
        }
    }

    // Ends a run that may go on, because a callback of the caller's threw or he left the loop: it must have let go before its cache is freed.
    private static async Task LetGoAsync(SequenceRun run, CancellationTokenSource cancel)
    {
        await cancel.CancelAsync().ConfigureAwait(false);
        await run.Outcome.ContinueWith(_ => run.Cache.Dispose(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default).ConfigureAwait(false);
    }

    private SequenceRun Run(KvCache? prefix, Prompt prompt, GenerationOptions? options, Boundary boundary, bool parseSpecial, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken, SequenceRun? reading = null, bool countsReading = false)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        if (prefix is not null)
        {
            CheckOwner(prefix);
        }

        KvCache cache = prefix?.CloneFor(this) ?? new KvCache(this);
        try
        {
            SuffixPlan plan = PlanOf(cache, prompt, boundary, parseSpecial);
            cache.Truncate(plan.Keep);
            options = options?.Seeded(plan.Ids.Length == 0 ? cache.Run : null, Sampling.Sampler.RandomSeed());
            return new SequenceRun(cache, plan, options, _tokenizer, Config.MaxPositionEmbeddings, progress, cancellationToken, reading, countsReading);
        }
        catch
        {
            cache.Dispose();
            throw;
        }
    }

    // What follows the cache for it to be followed by the prompt, checked.
    private SuffixPlan PlanOf(KvCache cache, Prompt prompt, Boundary boundary, bool parseSpecial)
    {
        SuffixPlan plan = prompt.Ids is int[] ids
            ? SuffixEncoder.Plan(cache.Length, ids)
            : prompt.Text!.Length == 0 && cache.Length > 0
                ? new SuffixPlan(cache.Length, [], [], null)
                : SuffixEncoder.Plan(Tokenizer, cache.Tokens, cache.Origins, prompt.Text!, boundary, parseSpecial);
        if (plan.Keep + plan.Ids.Length == 0)
        {
            throw new PrefixTorchException("There is nothing to read: the prompt has no tokens. Give a text or ids.");
        }

        CheckIds(plan.Ids, plan.Keep);
        return plan;
    }

    private void CheckIds(int[] ids, int before) => CheckIds(ids, before, Config.MaxPositionEmbeddings);

    private void CheckIds(int[] ids, int before, int context)
    {
        foreach (int id in ids)
        {
            if (id < 0 || id >= Config.VocabSize)
            {
                throw new PrefixTorchException($"Token id {id} is not in the model's vocabulary of {Config.VocabSize}: ids are 0 to {Config.VocabSize - 1}.");
            }
        }

        if (before + ids.Length > context)
        {
            throw new PrefixTorchException($"The prompt has {before + ids.Length} tokens and the model's context is {context}: shorten the prompt.");
        }
    }

    private void CheckOwner(KvCache cache)
    {
        if (ReferenceEquals(cache.Host, this))
        {
            return;
        }

        KvIdentity theirs = cache.Host.Identity, ours = Identity;
        if (theirs with { Model = "" } != ours with { Model = "" } || cache.Layout != _layout)
        {
            throw new PrefixTorchException($"The cache was made by '{theirs.Model}' (weights {theirs.Weights}, {cache.Layout.DType.Name()}) and this model is '{ours.Model}' (weights {ours.Weights}, {_layout.DType.Name()}): read the prompt again with this model.");
        }
    }

    /// <summary>Text or ids.</summary>
    private readonly record struct Prompt(string? Text, int[]? Ids)
    {
        public static Prompt Of(string text)
        {
            ArgumentNullException.ThrowIfNull(text);
            return new(text, null);
        }

        public static Prompt Of(int[] ids)
        {
            ArgumentNullException.ThrowIfNull(ids);
            return new(null, [.. ids]);
        }
    }
}

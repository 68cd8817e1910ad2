using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading.Channels;
using PrefixTorch.Caching;
using PrefixTorch.Sampling;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Generation;

/// <summary>
/// One sequence on its way through the engine: it reads its prompt in chunks, then decodes until something ends it. The one mutable
/// record of a generation.
/// </summary>
/// <remarks>
/// Owns <see cref="Cache"/> until the outcome is taken. Everything but reading <see cref="Tokens"/> and <see cref="Outcome"/>, <see cref="DeliverProgressAsync"/>, and <see cref="Choose"/>, happens on the engine thread. Tokens leave
/// through a channel without bound, and progress through another, so that a slow reader stalls nobody.
/// </remarks>
internal sealed class SequenceRun
{
    private readonly GenerationOptions? _options;
    private readonly Sampler? _sampler;
    private readonly StreamingDetokenizer? _detokenizer;
    private readonly StopMatcher _stops;
    private readonly Channel<Token> _tokens = Channel.CreateUnbounded<Token>(new() { SingleReader = true, SingleWriter = true });
    private readonly TaskCompletionSource<FinishReason> _outcome = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _submitted;
    private readonly SequenceRun? _reading;
    private readonly List<int> _all;
    private readonly int _promptLength;
    private readonly KvRun? _run;
    private readonly int _contextLength;
    private readonly ProgressRelay? _progress;
    private readonly string? _note;
    private int[] _ids;
    private TokenOrigin[] _origins;
    private readonly StringBuilder _text = new();
    private SampledToken _chosen;
    private ExceptionDispatchInfo? _choiceFailed;
    private bool _readsAgain;
    private long _prefilled;
    private long _firstToken;
    private long _lastToken;

    /// <summary>A sequence to read, and to continue if <paramref name="options"/> are given.</summary>
    /// <param name="cache">The prefix; owned from here on.</param>
    /// <param name="plan">What follows it; the cache has been cut to <see cref="SuffixPlan.Keep"/> already.</param>
    /// <param name="options">Resolved options; null only reads.</param>
    /// <param name="tokenizer">For text; null where a model came without.</param>
    /// <param name="contextLength">Positions that the model has.</param>
    /// <param name="progress">Told of the tokens read.</param>
    /// <param name="cancellation">Ends the run between steps, or between the layers of a step of its own.</param>
    /// <param name="reading">The run that read the end of the prompt for this one and others.</param>
    /// <param name="countsReading">Whether that reading is in this run's report: in one of them, so that reports can be added up.</param>
    public SequenceRun(KvCache cache, SuffixPlan plan, GenerationOptions? options, LlamaTokenizer? tokenizer, int contextLength, IProgress<PrefillProgress>? progress, CancellationToken cancellation, SequenceRun? reading = null, bool countsReading = false)
    {
        Cache = cache;
        Cancellation = cancellation;
        _options = options;
        _contextLength = contextLength;
        _progress = progress is null ? null : new ProgressRelay(progress);
        _reading = reading;
        SequenceRun? counted = countsReading ? reading : null;
        _submitted = counted?._submitted ?? Stopwatch.GetTimestamp();
        _note = reading?._note ?? plan.Note;
        _stops = new StopMatcher(options?.Stop ?? []);
        if (options is not null)
        {
            _sampler = new Sampler(options, options.Branch, options.EosTokenIds, options.LogProbs);
            _detokenizer = tokenizer?.CreateDetokenizer(skipSpecialTokens: !options.KeepSpecialTokens);
        }

        // The last sampled token of an earlier generation has no keys yet: it is read first.
        (int Id, TokenOrigin Origin)[] pending = cache.Pending;
        int evaluated = cache.EvaluatedLength;
        _ids = [.. pending.Select(token => token.Id), .. plan.Ids];
        _origins = [.. pending.Select(token => token.Origin), .. plan.Origins];
        _all = [.. cache.Tokens, .. plan.Ids];
        _promptLength = _all.Count;
        _detokenizer?.GoOnFrom(CollectionsMarshal.AsSpan(_all));
        if (plan.Ids.Length > 0)
        {
            cache.Run = null;
        }

        if (options is not null)
        {
            // Going on where a generation stopped, in one sample or several, penalties and minimum lengths count from where it began.
            ulong? seed = options.IsGreedy ? null : options.Seed;
            _run = new(seed, options.Branch, cache.Run is KvRun stopped && stopped.Seed == seed ? stopped.PromptLength : _promptLength);
        }

        if (_ids.Length == 0 && cache.Logits is null && evaluated > 0)
        {
            // What follows the last token is not known (after a cut): read that one again, and keep what it has until then.
            _ids = [_all[^1]];
            _origins = [cache.Origins[^1]];
            _readsAgain = true;
            _note ??= "the logits after the last token were not kept: one token read again";
        }

        ReusedTokens = counted?.ReusedTokens ?? _promptLength - Unread;
    }

    /// <summary>The state so far.</summary>
    public KvCache Cache { get; }

    /// <summary>Ends the run.</summary>
    public CancellationToken Cancellation { get; }

    /// <summary>Prompt tokens that were there already.</summary>
    public int ReusedTokens { get; private set; }

    /// <summary>Tokens as they are chosen.</summary>
    public ChannelReader<Token> Tokens => _tokens.Reader;

    /// <summary>Tells the caller's progress of the tokens read, until they are all read or the run has ended; before <see cref="Tokens"/> is read.</summary>
    public Task DeliverProgressAsync() => _progress?.DeliverAsync(Tokens.WaitToReadAsync(CancellationToken.None).AsTask()) ?? Task.CompletedTask;

    /// <summary>Why the run ended, or the error that ended it.</summary>
    public Task<FinishReason> Outcome => _outcome.Task;

    /// <summary>The prompt's ids.</summary>
    public int[] PromptIds => _reading?.PromptIds ?? [.. _all.Take(_promptLength)];

    /// <summary>Generated text so far.</summary>
    public string Text => _text.ToString();

    /// <summary>Whether nothing is left to do.</summary>
    public bool IsDone { get; private set; }

    /// <summary>Tokens that wait to be computed.</summary>
    public int Waiting => _ids.Length;

    /// <summary>The next tokens to compute: the rest of the prompt up to the chunk's border on the grid, or the last sampled token.</summary>
    public int NextCount(int chunk)
    {
        int start = Cache.EvaluatedLength;
        return Math.Min(_ids.Length, chunk - start % chunk);
    }

    /// <summary>Claims slots for the next tokens.</summary>
    public KvAppend Begin(int count, out ReadOnlySpan<int> ids)
    {
        if (_readsAgain)
        {
            _readsAgain = false;
            ReusedTokens = _promptLength - 1;
            Cache.Truncate(ReusedTokens);
        }

        ids = _ids.AsSpan(0, count);
        return Cache.BeginAppend(ids, _origins.AsSpan(0, count), rest: _ids.Length - count, likely: Math.Min(_options?.MaxNewTokens ?? 0, 1024));
    }

    /// <summary>Whether these are the last tokens before something is chosen, so that their logits are wanted.</summary>
    public bool IsLast(int count) => count == _ids.Length;

    /// <summary>Whether a token is chosen as soon as the logits after the last one are known.</summary>
    public bool Chooses => _options is GenerationOptions options && _all.Count - _promptLength < options.MaxNewTokens && _all.Count < _contextLength;

    /// <summary>Takes note of computed tokens.</summary>
    public void Advance(int count)
    {
        _ids = _ids[count..];
        _origins = _origins[count..];
        if (_prefilled == 0)
        {
            _progress?.Report(new PrefillProgress(_promptLength - _ids.Length, _promptLength));
        }

        if (_ids.Length == 0)
        {
            Arrive();
        }
    }

    /// <summary>Takes note that the logits after the last token are known; ends the run where nothing is chosen by them.</summary>
    public void Arrive()
    {
        if (_prefilled == 0)
        {
            _prefilled = Stopwatch.GetTimestamp();
        }

        if (!Chooses)
        {
            Finish(FinishReason.Length);
        }
    }

    /// <summary>Chooses the next token, on any thread while the engine's waits; <see cref="Accept"/> follows on the engine's.</summary>
    public void Choose(ReadOnlySpan<float> logits, LogitsSummary summary)
    {
        try
        {
            _chosen = _sampler!.Sample(logits, summary, CollectionsMarshal.AsSpan(_all), _run!.PromptLength, _all.Count);
        }
        catch (Exception e)
        {
            _choiceFailed = ExceptionDispatchInfo.Capture(e);
        }
    }

    /// <summary>Takes the chosen token, or throws what choosing threw.</summary>
    public void Accept()
    {
        _choiceFailed?.Throw();
        GenerationOptions options = _options!;
        SampledToken sampled = _chosen;
        _lastToken = Stopwatch.GetTimestamp();
        _firstToken = _firstToken == 0 ? _lastToken : _firstToken;
        _all.Add(sampled.Id);
        Cache.AddPending(sampled.Id, TokenOrigin.Generated, _run);
        _ids = [sampled.Id];
        _origins = [TokenOrigin.Generated];

        string text = _stops.Add(_detokenizer?.Add(sampled.Id) ?? "");
        FinishReason? reason =
            _stops.IsStopped ? FinishReason.Stop
            : options.EosTokenIds!.Contains(sampled.Id) ? FinishReason.Eos
            : _all.Count - _promptLength >= options.MaxNewTokens || _all.Count >= _contextLength ? FinishReason.Length
            : null;
        if (reason is not null and not FinishReason.Stop)
        {
            text += TakeHeldBack();
            reason = _stops.IsStopped ? FinishReason.Stop : reason;
        }

        _text.Append(text);
        var token = new Token(sampled.Id, text, sampled.LogProb)
        {
            TopLogProbs = options.LogProbs > 0 ? _sampler!.TopLogProbs : null,
            FinishReason = reason,
            Report = reason is null ? null : Report(),
        };
        _tokens.Writer.TryWrite(token);
        if (reason is FinishReason ended)
        {
            Finish(ended);
        }
    }

    /// <summary>Ends the run.</summary>
    public void Finish(FinishReason reason)
    {
        if (!IsDone)
        {
            if (reason == FinishReason.Cancelled)
            {
                _text.Append(TakeHeldBack());
            }

            IsDone = true;
            _outcome.TrySetResult(reason);
            _tokens.Writer.TryComplete();
        }
    }

    /// <summary>Ends the run with an error; its cache is let go.</summary>
    public void Fail(Exception error)
    {
        if (!IsDone)
        {
            IsDone = true;
            Cache.Dispose();
            _outcome.TrySetException(error);
            _tokens.Writer.TryComplete();
        }
    }

    /// <summary>What the run took, so far.</summary>
    public GenerationReport Report()
    {
        // What waits is the last token, or, cancelled before that, the rest of the prompt.
        int generated = _all.Count - _promptLength, computed = _promptLength - ReusedTokens - (generated == 0 ? Unread : 0);
        long end = _lastToken != 0 ? _lastToken : Stopwatch.GetTimestamp(), read = _prefilled != 0 ? _prefilled : end;
        double prefill = Seconds(_submitted, read), decode = generated == 0 ? 0 : Seconds(read, end);
        var timings = new Timings(prefill, decode, generated == 0 ? 0 : Seconds(_submitted, _firstToken))
        {
            PrefillTokensPerSecond = computed > 0 && prefill > 0 ? computed / prefill : 0,
            TokensPerSecond = generated > 1 && end > _firstToken ? (generated - 1) / Seconds(_firstToken, end) : 0,
        };
        return new GenerationReport(new Usage(_reading?._promptLength ?? _promptLength, ReusedTokens, computed, generated), timings, _note, _sampler is { IsGreedy: false } sampler ? sampler.Seed : null) { SharedBytes = ReusedTokens * Cache.Layout.BytesPerToken };
    }

    // What waits and is not in the cache.
    private int Unread => _readsAgain ? 0 : _ids.Length;

    // Nothing follows: what was held back for the sake of a character or a stop text is certain now.
    private string TakeHeldBack() => _stops.Add(_detokenizer?.Flush() ?? "") + _stops.Flush();

    private static double Seconds(long from, long to) => Stopwatch.GetElapsedTime(from, to).TotalSeconds;
}

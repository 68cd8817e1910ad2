using System.Collections.Concurrent;
using PrefixTorch.Caching;
using PrefixTorch.Kernels;
using PrefixTorch.Model;
using PrefixTorch.Sampling;

namespace PrefixTorch.Generation;

/// <summary>The forward pass: writes the logits of the step's logit rows, <c>[rows, V]</c>.</summary>
internal delegate void ForwardPass(Step step, Span<float> logits, CancellationToken cancellation);

/// <summary>
/// The one thread that runs the model. Sequences join and leave between steps; each step takes tokens of as many as there are: decoding ones
/// one token each, reading ones a chunk, laid end to end.
/// </summary>
/// <remarks>
/// Scopes and guards of TorchSharp belong to a thread, and so does libtorch's number of threads: what uses it runs here. What leaves the
/// thread are ids, text and caches. Of the caller's code only processors of logits run here, and on the pool's threads; progress and tokens are
/// delivered elsewhere.
/// </remarks>
internal sealed class Engine : IDisposable
{
    private readonly ForwardPass _forward;
    private readonly KernelPool _pool;
    private readonly int _vocabulary;
    private readonly int _chunk;
    private readonly ConcurrentQueue<SequenceRun[]> _arrived = new();
    private readonly ConcurrentQueue<Action> _calls = new();
    private readonly SemaphoreSlim _signal = new(0);
    private readonly List<SequenceRun> _running = [];
    private readonly Thread _thread;
    private float[] _logits = [];
    private LogitsSummary.Part[] _summaries = [];
    private volatile bool _stop;

    /// <summary>Starts the thread.</summary>
    /// <param name="forward">The forward pass.</param>
    /// <param name="pool">The threads that share out the choosing of tokens.</param>
    /// <param name="vocabulary">Logits of a row (V).</param>
    /// <param name="chunk">Tokens of a sequence in one step at most, and the grid of positions that chunks lie on.</param>
    public Engine(ForwardPass forward, KernelPool pool, int vocabulary, int chunk)
    {
        _forward = forward;
        _pool = pool;
        _vocabulary = vocabulary;
        _chunk = chunk;
        _thread = new Thread(Run) { IsBackground = true, Name = "PrefixTorch engine" };
        _thread.Start();
    }

    /// <summary>Hands sequences over, which begin in the same step. Each ends by its own outcome, also where the model was disposed.</summary>
    public void Submit(params SequenceRun[] runs)
    {
        _arrived.Enqueue(runs);
        _signal.Release();
        if (_stop)
        {
            // The thread may have looked for the last time already.
            FailAll();
        }
    }

    /// <summary>Runs something on the thread, between steps, and waits for it.</summary>
    public async Task<T> CallAsync<T>(Func<T> call)
    {
        if (Thread.CurrentThread == _thread)
        {
            return call();
        }

        ObjectDisposedException.ThrowIf(_stop, typeof(Llama));
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        _calls.Enqueue(() =>
        {
            try
            {
                ObjectDisposedException.ThrowIf(_stop, typeof(Llama));
                done.SetResult(call());
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        });
        _signal.Release();
        if (_stop)
        {
            RunCalls();
        }

        return await done.Task.ConfigureAwait(false);
    }

    /// <summary>Computes tokens of one cache and commits them with the logits after the last; on the engine thread.</summary>
    /// <param name="cache">The cache, whose one appender this is.</param>
    /// <param name="ids">The tokens, computed in one pass.</param>
    /// <param name="origins">Where they came from.</param>
    /// <param name="firstLogits">The first token whose logits are wanted; those of the last are in any case.</param>
    /// <param name="rest">How many follow, so that they lie in one buffer.</param>
    /// <param name="cancellation">Ends the pass between layers.</param>
    /// <returns>The logits asked for, <c>[rows, V]</c>.</returns>
    public float[] Compute(KvCache cache, ReadOnlySpan<int> ids, ReadOnlySpan<TokenOrigin> origins, int firstLogits, int rest = 0, CancellationToken cancellation = default)
    {
        using KvAppend append = cache.BeginAppend(ids, origins, rest);
        int first = Math.Clamp(firstLogits, 0, ids.Length - 1);
        int[] rows = [.. Enumerable.Range(first, ids.Length - first)];
        var logits = new float[rows.Length * (long)_vocabulary];
        _forward(new Step([append], ids.ToArray(), rows), logits, cancellation);
        append.Commit(logits[^_vocabulary..]);
        return logits;
    }

    /// <summary>Whether the engine waits for whoever asks: a processor of logits, which so must not wait for the engine.</summary>
    public bool IsWaitingForCaller => Thread.CurrentThread == _thread || _pool.IsWorker;

    /// <summary>Lets the step under way be the last; sequences fail after it.</summary>
    public void Stop()
    {
        _stop = true;
        _signal.Release();
    }

    /// <summary>Ends the thread; sequences under way fail.</summary>
    public void Dispose()
    {
        Stop();
        _thread.Join();
    }

    private void Run()
    {
        while (!_stop)
        {
            if (_running.Count == 0)
            {
                _signal.Wait();
            }

            RunCalls();
            while (_arrived.TryDequeue(out SequenceRun[]? runs))
            {
                Admit(runs);
            }

            StepAll();
        }

        RunCalls();
        FailAll();
    }

    private void Admit(SequenceRun[] runs)
    {
        List<Choice> choices = [];
        foreach (SequenceRun run in runs)
        {
            if (run.Cancellation.IsCancellationRequested)
            {
                run.Finish(FinishReason.Cancelled);
            }
            else if (run.Waiting == 0)
            {
                Guard(run, run.Arrive);
                if (!run.IsDone)
                {
                    choices.Add(new Choice(run, run.Cache.Logits));
                }
            }
        }

        Choose(choices);
        _running.AddRange(runs.Where(run => !run.IsDone));
    }

    private void StepAll()
    {
        foreach (SequenceRun run in _running)
        {
            if (run.Cancellation.IsCancellationRequested)
            {
                run.Finish(FinishReason.Cancelled);
            }
        }

        _running.RemoveAll(run => run.IsDone);

        // Few rows and many are shared out otherwise: a step is of one kind. Decoding goes first, and a chunk of reading follows.
        List<(SequenceRun Run, int Count)> few = [], many = [];
        int fewRows = 0, manyRows = 0;
        foreach (SequenceRun run in _running)
        {
            int count = run.NextCount(_chunk);
            if (count <= Step.FewRows && fewRows + count <= _chunk)
            {
                few.Add((run, count));
                fewRows += count;
            }
            else if (count > Step.FewRows && (manyRows == 0 || manyRows + count <= _chunk))
            {
                many.Add((run, count));
                manyRows += count;
            }
        }

        StepOnce(few);
        StepOnce(many);
        _running.RemoveAll(run => run.IsDone);
    }

    private void StepOnce(List<(SequenceRun Run, int Count)> parts)
    {
        if (parts.Count == 0 || _stop)
        {
            return;
        }

        List<KvAppend> appends = [];
        try
        {
            List<int> ids = [], logitRows = [];
            foreach ((SequenceRun run, int count) in parts)
            {
                appends.Add(run.Begin(count, out ReadOnlySpan<int> next));
                ids.AddRange(next);
                if (run.IsLast(count))
                {
                    logitRows.Add(ids.Count - 1);
                }
            }

            // A step can be given up in the middle only if nobody else is in it.
            CancellationToken cancellation = parts.Count == 1 ? parts[0].Run.Cancellation : default;
            Memory<float> logits = Logits(logitRows.Count);
            _forward(new Step(appends, [.. ids], [.. logitRows]), logits.Span, cancellation);
            List<Choice> choices = [];
            for (int i = 0; i < parts.Count; i++)
            {
                (SequenceRun run, int count) = parts[i];
                Memory<float>? row = null;
                if (run.IsLast(count))
                {
                    row = logits[.._vocabulary];
                    logits = logits[_vocabulary..];
                }

                // Half a megabyte is kept only where nothing is chosen from it at once.
                appends[i].Commit(run.Chooses ? null : row?.ToArray());
                appends[i].Dispose();
                Guard(run, () => run.Advance(count));
                if (row is Memory<float> last && !run.IsDone)
                {
                    choices.Add(new Choice(run, last));
                }
            }

            Choose(choices);
        }
        catch (OperationCanceledException) when (parts.Count == 1 && parts[0].Run.Cancellation.IsCancellationRequested)
        {
            // Whoever waits for the run's end finds its memory let go.
            Release();
            parts[0].Run.Finish(FinishReason.Cancelled);
        }
        catch (Exception e)
        {
            Release();
            parts.ForEach(part => part.Run.Fail(e));
        }
        finally
        {
            Release();
        }

        void Release()
        {
            appends.ForEach(append => append.Dispose());
            appends.Clear();
        }
    }

    // The memory is used again at every step: at 128k logits a row it would be a burden for the garbage collector.
    private Memory<float> Logits(int rows)
    {
        int count = checked(rows * _vocabulary);
        if (_logits.Length < count)
        {
            _logits = new float[count];
        }

        return _logits.AsMemory(0, count);
    }

    // Passes over the whole vocabulary, many times a step: all threads share them out. What a sequence draws depends on itself alone.
    private void Choose(List<Choice> choices)
    {
        int blocks = LogitsSummary.Blocks(_vocabulary);
        if (_summaries.Length < choices.Count * blocks)
        {
            _summaries = new LogitsSummary.Part[choices.Count * blocks];
        }

        var summary = new SummaryJob(choices, blocks, _summaries);
        _pool.Run(choices.Count * blocks, ref summary);
        var job = new ChoiceJob(choices, blocks, _summaries);
        _pool.Run(choices.Count, ref job);
        choices.ForEach(choice => Guard(choice.Run, choice.Run.Accept));
    }

    // An error of one sequence (logits that are not numbers, a processor of the caller's) is not another's.
    private static void Guard(SequenceRun run, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e)
        {
            run.Fail(e);
        }
    }

    private void RunCalls()
    {
        while (_calls.TryDequeue(out Action? call))
        {
            call();
        }
    }

    private void FailAll()
    {
        var closed = new ObjectDisposedException(nameof(Llama), "The model was disposed while this was under way.");
        while (_arrived.TryDequeue(out SequenceRun[]? runs))
        {
            foreach (SequenceRun run in runs)
            {
                run.Fail(closed);
            }
        }

        if (Thread.CurrentThread == _thread)
        {
            _running.ForEach(run => run.Fail(closed));
            _running.Clear();
        }
    }

    /// <summary>A sequence that is to choose its next token, and the logits to choose by.</summary>
    private readonly record struct Choice(SequenceRun Run, ReadOnlyMemory<float> Logits);

    /// <summary>What there is to know of each sequence's logits, block by block.</summary>
    private readonly struct SummaryJob(List<Choice> choices, int blocks, LogitsSummary.Part[] summaries) : IBlockJob
    {
        public void Run(int block) => summaries[block] = LogitsSummary.Part.Of(choices[block / blocks].Logits.Span, block % blocks);
    }

    /// <summary>A token for each sequence; a block is one of them.</summary>
    private readonly struct ChoiceJob(List<Choice> choices, int blocks, LogitsSummary.Part[] summaries) : IBlockJob
    {
        public void Run(int block)
        {
            ReadOnlySpan<float> logits = choices[block].Logits.Span;
            choices[block].Run.Choose(logits, LogitsSummary.Merge(logits, summaries.AsSpan(block * blocks, blocks)));
        }
    }
}

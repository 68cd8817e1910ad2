using System.Runtime.InteropServices;

namespace PrefixTorch.Kernels;

/// <summary>One kernel call cut into blocks that any thread may take.</summary>
internal interface IBlockJob
{
    /// <summary>Does block <paramref name="block"/>; what it writes depends on the block alone, never on the thread or the order.</summary>
    void Run(int block);
}

/// <summary>
/// A fixed set of threads that share out the blocks of one job at a time. Each thread has a range of its own, whose memory it reads in order and asks for
/// ahead; when it is done it helps with the others', so that the thread that runs does the work: on a shared machine a fixed split waits a whole
/// scheduler slice when one of its threads loses its core.
/// Workers spin briefly after a job, because the next one comes within microseconds, and then park.
/// </summary>
/// <remarks>One job at a time, from one thread at a time (the engine thread); a job allocates nothing.</remarks>
internal sealed unsafe class KernelPool : IDisposable
{
    private const int SpinsBeforeParking = 4000;

    // Some hundred microseconds: who yields to others on a shared machine comes back late.
    private const int SpinsBeforeYielding = 1000;

    // The gate: how many workers are inside a job (16 bits), whether it is open, and the job's number. A worker enters only while it is
    // open, so that the caller never waits for one that has not begun.
    private const long Inside = 0xffff;
    private const long Open = 0x10000;
    private const int NumberShift = 17;

    private readonly Thread[] _workers;
    private readonly SemaphoreSlim[] _parked;
    private readonly int[] _isParked;
    private delegate*<void*, int, void> _run;
    private void* _job;
    private readonly Range[] _ranges;
    private long _gate;
    private volatile bool _stop;
    private volatile Exception? _failure;

    /// <summary>Starts <paramref name="threads"/> − 1 workers; the calling thread is the last one.</summary>
    public KernelPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        _workers = new Thread[threads - 1];
        _ranges = new Range[threads];
        _parked = new SemaphoreSlim[threads - 1];
        _isParked = new int[threads - 1];
        for (int i = 0; i < _workers.Length; i++)
        {
            int index = i;
            _parked[i] = new SemaphoreSlim(0);
            _workers[i] = new Thread(() => Work(index)) { IsBackground = true, Name = $"PrefixTorch kernels {i + 1}" };
            _workers[i].Start();
        }
    }

    /// <summary>Threads that share a job, the caller included.</summary>
    public int Threads => _workers.Length + 1;

    /// <summary>Whether whoever asks runs on one of the workers.</summary>
    public bool IsWorker => Array.IndexOf(_workers, Thread.CurrentThread) >= 0;

    /// <summary>Runs blocks 0 … <paramref name="blocks"/> − 1 of <paramref name="job"/> and returns when all are done.</summary>
    public void Run<TJob>(int blocks, ref TJob job)
        where TJob : struct, IBlockJob
    {
        if (blocks <= 1 || _workers.Length == 0)
        {
            for (int block = 0; block < blocks; block++)
            {
                job.Run(block);
            }

            return;
        }

#pragma warning disable CS8500 // A job may hold references: it lies on the caller's stack, which waits below until nobody uses it.
        fixed (TJob* pointer = &job)
        {
            _job = pointer;
            _run = &RunBlock<TJob>;
            for (int i = 0; i < _ranges.Length; i++)
            {
                _ranges[i].Next = (int)((long)blocks * i / _ranges.Length);
                _ranges[i].End = (int)((long)blocks * (i + 1) / _ranges.Length);
            }

            Interlocked.Exchange(ref _gate, ((Volatile.Read(ref _gate) >> NumberShift) + 1) << NumberShift | Open);
            for (int i = 0; i < _workers.Length; i++)
            {
                if (Interlocked.Exchange(ref _isParked[i], 0) == 1)
                {
                    _parked[i].Release();
                }
            }

            TakeBlocks(0);
            Interlocked.And(ref _gate, ~Open);
            for (int spins = 0; (Volatile.Read(ref _gate) & Inside) != 0; spins++)
            {
                if (spins < SpinsBeforeYielding)
                {
                    Thread.SpinWait(4);
                }
                else
                {
                    Thread.Yield();
                }
            }
        }
#pragma warning restore CS8500

        if (_failure is Exception failure)
        {
            _failure = null;
            throw new InvalidOperationException("A kernel failed on a worker thread.", failure);
        }
    }

    /// <summary>Ends the workers. No job may be running.</summary>
    public void Dispose()
    {
        _stop = true;
        foreach (SemaphoreSlim parked in _parked)
        {
            parked.Release();
        }

        foreach (Thread worker in _workers)
        {
            worker.Join();
        }

        foreach (SemaphoreSlim parked in _parked)
        {
            parked.Dispose();
        }
    }

#pragma warning disable CS8500
    private static void RunBlock<TJob>(void* job, int block)
        where TJob : struct, IBlockJob => ((TJob*)job)->Run(block);
#pragma warning restore CS8500

    // A thread's own range, then what is left of the others'.
    private void TakeBlocks(int thread)
    {
        try
        {
            for (int i = 0; i < _ranges.Length; i++)
            {
                ref Range range = ref _ranges[(thread + i) % _ranges.Length];

                // Looked at before it is taken from: what all have finished is then read by all, and written by none.
                for (int block; _failure is null && Volatile.Read(ref range.Next) < range.End && (block = Interlocked.Increment(ref range.Next) - 1) < range.End;)
                {
                    _run(_job, block);
                }
            }
        }
        catch (Exception e)
        {
            // The caller must not leave while others use its stack; it throws when all have stopped.
            _failure = e;
        }
    }

    private void Work(int index)
    {
        long seen = 0;
        int spins = 0;
        while (!_stop)
        {
            if (TryEnter(ref seen))
            {
                TakeBlocks(index + 1);
                Interlocked.Decrement(ref _gate);
                spins = 0;
            }
            else if (++spins < SpinsBeforeParking)
            {
                Thread.SpinWait(8);
            }
            else
            {
                Park(index, seen);
                spins = 0;
            }
        }
    }

    private bool TryEnter(ref long seen)
    {
        long gate = Volatile.Read(ref _gate);
        if ((gate & Open) == 0 || gate >> NumberShift == seen || Interlocked.CompareExchange(ref _gate, gate + 1, gate) != gate)
        {
            return false;
        }

        seen = gate >> NumberShift;
        return true;
    }

    private void Park(int index, long seen)
    {
        Volatile.Write(ref _isParked[index], 1);
        Interlocked.MemoryBarrier();
        long gate = Volatile.Read(ref _gate);
        bool nothingToDo = (gate & Open) == 0 || gate >> NumberShift == seen;

        // If somebody has taken the mark meanwhile, a release is on its way and must be waited for.
        if ((nothingToDo && !_stop) || Interlocked.Exchange(ref _isParked[index], 0) == 0)
        {
            _parked[index].Wait();
        }
    }

    /// <summary>The blocks of a thread, in a cache line of their own.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 128)]
    private struct Range
    {
        public int Next;
        public int End;
    }
}

using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Generation;

/// <summary>Reads memory and does nothing else: four loads a line apart at a time, blocks handed out as the kernels' are.</summary>
internal sealed unsafe class ReadProbe : IDisposable
{
    /// <summary>Bytes that a thread takes at a time.</summary>
    public const int BlockBytes = 1 << 20;

    private readonly KernelPool _pool;
    private readonly NativeBlock _memory;
    private readonly int _blocks;

    public ReadProbe(long bytes, bool huge, KernelPool pool)
    {
        _pool = pool;
        _blocks = checked((int)(bytes / BlockBytes));
        _memory = huge ? NativeBlock.AllocateHuge((long)_blocks * BlockBytes) : NativeBlock.Allocate((long)_blocks * BlockBytes);

        // Memory that was never written is one page of zeros.
        for (int i = 0; i < _blocks; i++)
        {
            NativeMemory.Fill(_memory.Pointer + ((long)i * BlockBytes), BlockBytes, 1);
        }
    }

    /// <summary>Bytes a second in one pass over all of it.</summary>
    public double Measure()
    {
        var job = new Job { Memory = _memory.Pointer };
        long start = Stopwatch.GetTimestamp();
        _pool.Run(_blocks, ref job);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;

        // Every byte is 1: what was not read would show, and a compiler cannot leave the reading out.
        return job.Wrong == 0 ? (double)_blocks * BlockBytes / seconds : throw new InvalidOperationException("The memory that was read is not what was written.");
    }

    public void Dispose() => _memory.Release();

    private struct Job : IBlockJob
    {
        public byte* Memory;
        public int Wrong;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int block)
        {
            byte* at = Memory + ((long)block * BlockBytes);
            Vector512<ulong> a = Vector512<ulong>.AllBitsSet, b = a, c = a, d = a;
            for (byte* end = at + BlockBytes; at < end; at += 4 * 64)
            {
                a &= Vector512.Load((ulong*)at);
                b &= Vector512.Load((ulong*)(at + 64));
                c &= Vector512.Load((ulong*)(at + 128));
                d &= Vector512.Load((ulong*)(at + 192));
            }

            if ((a & b & c & d) != Vector512.Create((byte)1).AsUInt64())
            {
                Interlocked.Increment(ref Wrong);
            }
        }
    }
}

using PrefixTorch.Kernels;

namespace PrefixTorch.Generation;

/// <summary>What this machine computes with, and how fast it could be.</summary>
public static class Machine
{
    private const int Repetitions = 5;

    /// <summary>A line for people: which vectors the kernels use, whether bf16 is multiplied, how many processors.</summary>
    public static string Description => Cpu.Description;

    /// <summary>
    /// Bytes a second that threads together read from memory, in a plain loop over memory that no cache holds: what decoding is measured against.
    /// </summary>
    /// <param name="threads">How many; null: one for each processor.</param>
    /// <param name="bytes">The memory that is allocated and read.</param>
    /// <param name="huge">Whether the memory lies in huge pages, as weights do that are copied.</param>
    /// <returns>The median of a few readings.</returns>
    public static double MeasureReadBandwidth(int? threads = null, long bytes = 512L << 20, bool huge = false)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, ReadProbe.BlockBytes);
        using var pool = new KernelPool(threads ?? Environment.ProcessorCount);
        using var probe = new ReadProbe(bytes, huge, pool);
        return Median(() => probe.Measure());
    }

    /// <summary>
    /// Multiplications and additions a second, in fp32, that threads together do where nothing leaves the registers: what prefill is measured against. Products in
    /// bf16 can be faster on a machine that multiplies bf16.
    /// </summary>
    /// <param name="threads">How many; null: one for each processor.</param>
    /// <returns>The median of a few readings.</returns>
    public static double MeasurePeakFlops(int? threads = null)
    {
        using var pool = new KernelPool(threads ?? Environment.ProcessorCount);
        return Median(() => PeakProbe.Measure(pool));
    }

    private static double Median(Func<double> measure)
    {
        // The first time is for compiling, page faults and waking the threads.
        measure();
        return Enumerable.Range(0, Repetitions).Select(_ => measure()).Order().ElementAt(Repetitions / 2);
    }
}

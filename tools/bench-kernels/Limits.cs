using PrefixTorch.Generation;
using PrefixTorch.Kernels;

namespace PrefixTorch.KernelBenchmark;

/// <summary>What the machine gives at most, each measured once, the best of three.</summary>
internal static class Limits
{
    private const long ReadBytes = 1L << 29;

    private static readonly Lazy<double> s_read = new(MeasureRead);
    private static readonly Dictionary<Isa, double> s_peaks = [];

    /// <summary>Bytes a second.</summary>
    public static double Read => s_read.Value;

    /// <summary>Multiplications and additions a second.</summary>
    public static double Peak(Isa isa)
    {
        if (!s_peaks.TryGetValue(isa, out double peak))
        {
            using var pool = new KernelPool(Environment.ProcessorCount);
            s_peaks[isa] = peak = Enumerable.Range(0, 3).Max(_ => PeakProbe.Measure(pool, isa));
        }

        return peak;
    }

    private static double MeasureRead()
    {
        using var pool = new KernelPool(Environment.ProcessorCount);
        using var probe = new ReadProbe(ReadBytes, huge: true, pool);
        return Enumerable.Range(0, 3).Max(_ => probe.Measure());
    }
}

using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using PrefixTorch.Kernels;

namespace PrefixTorch.Generation;

/// <summary>Multiplies and adds in registers: twelve chains, so that no product waits for another, with the vectors that the kernels use.</summary>
internal static class PeakProbe
{
    private const int Chains = 12;
    private const int Rounds = 200_000;
    private const int BlocksPerThread = 64;

    /// <summary>Multiplications and additions a second, on the path in use.</summary>
    public static double Measure(KernelPool pool) => Measure(pool, Cpu.Isa);

    /// <summary>The same on a path that the machine has.</summary>
    public static double Measure(KernelPool pool, Isa isa) => isa switch
    {
        Isa.Avx512 or Isa.Amx => Measure<Vectors512, Vector512<float>>(pool),
        Isa.Avx2 or Isa.AvxVnni => Measure<Vectors256, Vector256<float>>(pool),
        _ => Measure<Vectors128, Vector128<float>>(pool),
    };

    private static double Measure<TVectors, TVector>(KernelPool pool)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        var job = new Job<TVectors, TVector> { Sums = new float[pool.Threads * BlocksPerThread] };
        long start = Stopwatch.GetTimestamp();
        pool.Run(job.Sums.Length, ref job);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return 2.0 * TVectors.Width * Chains * Rounds * job.Sums.Length / seconds;
    }

    private struct Job<TVectors, TVector> : IBlockJob
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        public float[] Sums;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int block)
        {
            // Multiplied by less than 1 and added to: the numbers stay ordinary, which a processor may be faster or slower with.
            TVector factor = TVectors.Broadcast(0.999f), term = TVectors.Broadcast(0.001f), a = TVectors.Broadcast(block);
            TVector b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a, l = a;
            for (int round = 0; round < Rounds; round++)
            {
                a = TVectors.MultiplyAdd(a, factor, term);
                b = TVectors.MultiplyAdd(b, factor, term);
                c = TVectors.MultiplyAdd(c, factor, term);
                d = TVectors.MultiplyAdd(d, factor, term);
                e = TVectors.MultiplyAdd(e, factor, term);
                f = TVectors.MultiplyAdd(f, factor, term);
                g = TVectors.MultiplyAdd(g, factor, term);
                h = TVectors.MultiplyAdd(h, factor, term);
                i = TVectors.MultiplyAdd(i, factor, term);
                j = TVectors.MultiplyAdd(j, factor, term);
                k = TVectors.MultiplyAdd(k, factor, term);
                l = TVectors.MultiplyAdd(l, factor, term);
            }

            TVector sum = TVectors.Add(TVectors.Add(TVectors.Add(a, b), TVectors.Add(c, d)), TVectors.Add(TVectors.Add(e, f), TVectors.Add(g, h)));
            Sums[block] = TVectors.Sum(TVectors.Add(sum, TVectors.Add(TVectors.Add(i, j), TVectors.Add(k, l))));
        }
    }
}

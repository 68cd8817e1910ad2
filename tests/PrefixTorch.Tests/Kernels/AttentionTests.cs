using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Attention on every instruction set of this machine beside softmax, written plainly in double precision, and beside itself.</summary>
public unsafe class AttentionTests
{
    private const int BlockSize = 256;

    private static readonly DType[] s_dtypes = [DType.Float32, DType.BFloat16, DType.Float16, DType.Int8];

    // With products of bf16 too, where the processor has them.
    private const string InBFloat16 = " in bf16";

    public static TheoryData<string> Isas()
    {
        TheoryData<string> isas = KernelTests.Isas();
        foreach (Isa isa in Cpu.Available.Where(isa => KernelSet.For(isa).HasTiles(TileSource.BFloat16)))
        {
            isas.Add(isa + InBFloat16);
        }

        return isas;
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void OverAnyPiecesItIsSoftmaxOverAll(string isa)
    {
        var random = new Random(5);
        foreach (DType dtype in s_dtypes)
        {
            foreach ((int headDim, int length) in new[] { (8, 1), (16, 5), (64, 300), (128, 77), (96, 515), (20, 40) })
            {
                using var past = new Past(dtype, headDim, length);
                using Numbers query = Queries(headDim, seed: 1);
                float[] whole = Merged(isa, past, query, () => length), pieces = Merged(isa, past, query, () => random.Next(1, 40));
                double[] expected = past.Attend(query, 0, 0, length).Result;
                Assert.All(Enumerable.Range(0, headDim), d => Assert.Equal(expected[d], whole[d], Tolerance(isa, dtype)));
                Assert.Equal(whole, pieces);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void AQueryGivesTheSameBitsAloneAndBesideAnyOthers(string isa)
    {
        var random = new Random(7);
        foreach (DType dtype in s_dtypes)
        {
            foreach (int headDim in new[] { 8, 20, 33, 64, 80, 128 })
            {
                foreach (int count in new[] { 2, 3, 4, 5, 7, AttentionQuery.Most })
                {
                    using var past = new Past(dtype, headDim, BlockSize);
                    using Numbers queries = Queries(count * headDim, seed: count);

                    // Some alike, some a key further than the one before, some anywhere.
                    int[] limits = [.. Enumerable.Range(0, count).Select(i => (i / 4 % 3) switch { 0 => 200, 1 => 30 + i, _ => random.Next(1, BlockSize + 1) })];
                    float[][] together = Partials(isa, past, queries, 0, limits, random.Next(1, BlockSize + 1));
                    for (int i = 0; i < count; i++)
                    {
                        Assert.Equal(Partials(isa, past, queries, i, [limits[i]], BlockSize)[0], together[i]);
                        (double max, double sum, double[] result) = past.Attend(queries, i, 0, limits[i]);
                        Assert.Equal(max, together[i][0], 1e-4);
                        Assert.Equal(1, together[i][1] / sum, 1e-4);
                        Assert.All(Enumerable.Range(0, headDim), d => Assert.Equal(result[d], together[i][2 + d] / sum, Tolerance(isa, dtype)));
                    }
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void WhatAQueryMayNotSeeDoesNotReachIt(string isa)
    {
        const int HeadDim = 40, Length = 70;
        using var past = new Past(DType.Float32, HeadDim, Length);
        using Numbers queries = Queries(4 * HeadDim, seed: 1);
        float[][] expected = Partials(isa, past, queries, 0, [65, 66, 67, 68], Length);
        for (int i = 68 * HeadDim; i < Length * HeadDim; i++)
        {
            past.Keys.Floats[i] = past.Values.Floats[i] = float.NaN;
        }

        Assert.Equal(expected, Partials(isa, past, queries, 0, [65, 66, 67, 68], Length));
        float[][] beside = Partials(isa, past, queries, 0, [65, 66, 67, 70], Length);
        Assert.Equal(expected[..3], beside[..3]);
        Assert.All(beside[3][2..], x => Assert.True(float.IsNaN(x)));
    }

    // One query's partial results of every block, given as runs of whatever lengths come, merged.
    private static float[] Merged(string isa, Past past, Numbers query, Func<int> next)
    {
        KernelSet kernels = Kernels(isa);
        int stride = past.HeadDim + 2, blocks = (past.Length + BlockSize - 1) / BlockSize;
        var partials = new float[blocks * stride];
        var output = new float[past.HeadDim];
        fixed (float* p = partials, o = output)
        {
            for (int block = 0; block < blocks; block++)
            {
                int start = block * BlockSize, limit = Math.Min(BlockSize, past.Length - start);
                var one = new AttentionQuery { Values = query.Floats, Partial = p + block * stride, Limit = limit };
                fixed (KeyValueRun* runs = past.Runs(start, limit, next))
                {
                    kernels.AttentionPartials(past.DType, isa.EndsWith(InBFloat16, StringComparison.Ordinal), runs, &one, 1, past.HeadDim);
                }
            }

            kernels.AttentionMerge(p, stride, blocks, past.HeadDim, o);
        }

        return output;
    }

    // Partial results of the first block, of queries from the first one on.
    private static float[][] Partials(string isa, Past past, Numbers queries, int first, int[] limits, int run)
    {
        KernelSet kernels = Kernels(isa);
        int stride = past.HeadDim + 2;
        var partials = new float[limits.Length * stride];
        var given = new AttentionQuery[limits.Length];
        fixed (float* p = partials)
        fixed (AttentionQuery* q = given)
        fixed (KeyValueRun* runs = past.Runs(0, past.Length, () => run))
        {
            for (int i = 0; i < limits.Length; i++)
            {
                q[i] = new() { Values = queries.Floats + (first + i) * past.HeadDim, Partial = p + i * stride, Limit = limits[i] };
            }

            kernels.AttentionPartials(past.DType, isa.EndsWith(InBFloat16, StringComparison.Ordinal), runs, q, limits.Length, past.HeadDim);
        }

        return [.. partials.Chunk(stride)];
    }

    private static KernelSet Kernels(string isa) => KernelSet.For(Enum.Parse<Isa>(isa.Split(' ')[0]));

    // A weight that is rounded to bf16 is off by a 512th at most.
    private static double Tolerance(string isa, DType dtype) => isa.EndsWith(InBFloat16, StringComparison.Ordinal) ? (dtype == DType.Int8 ? 8 : 1) / 500.0 : 1e-4;

    // Queries that bf16 holds: then scores are as exact as in fp32.
    private static Numbers Queries(int count, int seed)
    {
        var queries = new Numbers(count, DType.Float32, seed);
        for (int i = 0; i < count; i++)
        {
            ((uint*)queries.Data)[i] &= 0xffff0000;
        }

        return queries;
    }

    /// <summary>Random keys and values of one head.</summary>
    private sealed class Past(DType dtype, int headDim, int length) : IDisposable
    {
        private readonly Numbers _keyScales = new(length, DType.Float32, seed: 4);
        private readonly Numbers _valueScales = new(length, DType.Float32, seed: 5);

        public DType DType => dtype;

        public int HeadDim => headDim;

        public int Length => length;

        public Numbers Keys { get; } = new(length * headDim, dtype, seed: 2);

        public Numbers Values { get; } = new(length * headDim, dtype, seed: 3);

        private bool IsScaled => dtype == DType.Int8;

        /// <summary>Softmax as the textbook has it: the greatest score, the sum of the exponentials and the weighted mean of the values.</summary>
        public (double Max, double Sum, double[] Result) Attend(Numbers queries, int query, int start, int end)
        {
            double[] scores = [.. Enumerable.Range(start, end - start).Select(j => Scale(_keyScales, j) * Enumerable.Range(0, headDim).Sum(d => queries[query * headDim + d] * Keys[j * headDim + d]))];
            double max = scores.Max(), sum = scores.Sum(s => Math.Exp(s - max));
            double[] weights = [.. scores.Select((s, i) => Math.Exp(s - max) / sum * Scale(_valueScales, start + i))];
            return (max, sum, [.. Enumerable.Range(0, headDim).Select(d => weights.Select((w, i) => w * Values[(start + i) * headDim + d]).Sum())]);
        }

        /// <summary>Keys from <paramref name="start"/> on, cut into runs.</summary>
        public KeyValueRun[] Runs(int start, int count, Func<int> next)
        {
            int pitch = headDim * dtype.Size();
            List<KeyValueRun> runs = [];
            for (int at = start; at < start + count; at += runs[^1].Count)
            {
                runs.Add(new KeyValueRun
                {
                    Keys = Keys.Data + at * pitch,
                    Values = Values.Data + at * pitch,
                    KeyScales = IsScaled ? _keyScales.Floats + at : null,
                    ValueScales = IsScaled ? _valueScales.Floats + at : null,
                    Count = Math.Min(next(), start + count - at),
                });
            }

            return [.. runs];
        }

        public void Dispose()
        {
            Keys.Dispose();
            Values.Dispose();
            _keyScales.Dispose();
            _valueScales.Dispose();
        }

        private double Scale(Numbers scales, int row) => IsScaled ? scales[row] : 1;
    }
}

using PrefixTorch.Kernels;

namespace PrefixTorch.Tests.Kernels;

public class KernelPoolTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void EveryBlockRunsOnceWhateverTheThreads(int threads)
    {
        using var pool = new KernelPool(threads);
        for (int round = 0; round < 2000; round++)
        {
            var counts = new int[round % 37];
            var job = new CountJob(counts);
            pool.Run(counts.Length, ref job);
            Assert.All(counts, count => Assert.Equal(1, count));
        }
    }

    [Fact]
    public void ParkedThreadsWakeAgain()
    {
        using var pool = new KernelPool(3);
        for (int round = 0; round < 5; round++)
        {
            var counts = new int[50];
            var job = new CountJob(counts);
            pool.Run(counts.Length, ref job);
            Assert.All(counts, count => Assert.Equal(1, count));
            Thread.Sleep(30);
        }
    }

    [Fact]
    public void AnErrorInABlockReachesTheCallerAndThePoolGoesOn()
    {
        using var pool = new KernelPool(2);
        var failing = new FailJob();
        var error = Assert.Throws<InvalidOperationException>(() => pool.Run(100, ref failing));
        Assert.IsType<NotSupportedException>(error.InnerException);
        var counts = new int[100];
        var job = new CountJob(counts);
        pool.Run(100, ref job);
        Assert.All(counts, count => Assert.Equal(1, count));
    }

    [Theory]
    [InlineData("sse9", "not one of")]
    [InlineData("7", "not one of")]
    public void AnUnknownInstructionSetIsRefused(string value, string says) =>
        Assert.Contains(says, Assert.Throws<PrefixTorchException>(() => Cpu.Choose(value)).Message, StringComparison.Ordinal);

    [Fact]
    public void TheVariableForcesAPath()
    {
        Assert.Equal(Isa.Portable, Cpu.Choose("portable"));
        Assert.Equal(Cpu.Available[0], Cpu.Choose(""));
        Assert.All(Cpu.Available, isa => Assert.Equal(isa, Cpu.Choose(isa.ToString().ToLowerInvariant())));
    }

    private readonly struct CountJob(int[] counts) : IBlockJob
    {
        public void Run(int block) => Interlocked.Increment(ref counts[block]);
    }

    private readonly struct FailJob : IBlockJob
    {
        public void Run(int block)
        {
            if (block == 50)
            {
                throw new NotSupportedException();
            }
        }
    }
}

using PrefixTorch.Sampling;

namespace PrefixTorch.Tests.Sampling;

public class PhiloxTests
{
    /// <summary>The known answers that come with the authors' Random123 library.</summary>
    [Fact]
    public void KnownAnswers()
    {
        Assert.Equal((0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u), Philox.Block(0, 0, 0, 0, 0, 0));
        Assert.Equal((0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu), Philox.Block(~0u, ~0u, ~0u, ~0u, ~0u, ~0u));
        Assert.Equal((0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u), Philox.Block(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0));
    }

    [Theory]
    [InlineData(1, 0, 0)]
    [InlineData(0, 1, 0)]
    [InlineData(0, 0, 1)]
    public void UniformAlongEveryCoordinate(ulong seedStep, long branchStep, long positionStep)
    {
        const int Draws = 100_000, Bins = 100;
        int[] counts = new int[Bins];
        for (int i = 0; i < Draws; i++)
        {
            double u = Philox.Uniform(42 + (seedStep * (ulong)i), branchStep * i, positionStep * i);
            Assert.InRange(u, 0, 1 - double.Epsilon);
            counts[(int)(u * Bins)]++;
        }

        // 99 degrees of freedom: mean 99, standard deviation 14.
        Assert.InRange(ChiSquare.Of(counts, [.. Enumerable.Repeat((double)Draws / Bins, Bins)]), 45, 170);
    }

    [Fact]
    public void BranchesAreIndependent()
    {
        const int Draws = 50_000, Bins = 10;
        int[] counts = new int[Bins * Bins];
        for (int position = 0; position < Draws; position++)
        {
            int a = (int)(Philox.Uniform(7, 0, position) * Bins);
            int b = (int)(Philox.Uniform(7, 1, position) * Bins);
            counts[(a * Bins) + b]++;
        }

        Assert.InRange(ChiSquare.Of(counts, [.. Enumerable.Repeat((double)Draws / (Bins * Bins), Bins * Bins)]), 45, 170);
    }
}

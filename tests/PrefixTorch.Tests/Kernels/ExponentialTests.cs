using System.Runtime.Intrinsics;
using PrefixTorch.Kernels;

namespace PrefixTorch.Tests.Kernels;

/// <summary>Our exponential beside the one in double precision.</summary>
public unsafe class ExponentialTests
{
    public static TheoryData<string> Isas() => KernelTests.Isas();

    [Theory]
    [MemberData(nameof(Isas))]
    public void ItIsWithinTwoUnitsInTheLastPlace(string isa)
    {
        // Below, results would be no ordinary numbers any more, and lose their digits.
        float[] x = [.. Enumerable.Range(0, 352 * 1000).Select(i => i * 0.0005f - 87.3f).Where(x => x < 88.7f)];
        float[] y = Exp(isa, x);
        Assert.All(Enumerable.Range(0, x.Length), i =>
        {
            double exact = Math.Exp(x[i]), unit = MathF.BitIncrement((float)exact) - (float)exact;
            Assert.InRange(Math.Abs(y[i] - exact), 0, 2 * unit);
        });
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void ItEndsWhereFloatsEnd(string isa)
    {
        float[] x = [float.NegativeInfinity, float.MinValue, -1000, -104, -100, -88, -0f, 0, 89, 1000, float.MaxValue, float.PositiveInfinity, float.NaN];
        float[] y = Exp(isa, x);
        Assert.All(y[..6], value => Assert.Equal(0u, BitConverter.SingleToUInt32Bits(value)));
        Assert.Equal([1, 1], y[6..8]);
        Assert.All(y[8..12], value => Assert.Equal(float.PositiveInfinity, value));
        Assert.True(float.IsNaN(y[12]));
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void EveryLaneGivesTheSameBits(string isa)
    {
        float[] x = [.. Enumerable.Range(0, 500).Select(i => -i * 0.173f)];
        float[] expected = Exp(isa, x);
        for (int shift = 1; shift < 16; shift++)
        {
            Assert.Equal(expected, Exp(isa, [.. new float[shift], .. x])[shift..]);
        }
    }

    [Theory]
    [MemberData(nameof(Isas))]
    public void OfNumbersThatAreNotPositiveItGivesTheSameBitsWithFewerSteps(string isa)
    {
        float[] x = [.. Enumerable.Range(0, 90 * 1000).Select(i => -i * 0.001f), -0f, -88, -127, -1000, -1e9f, float.MinValue, float.NegativeInfinity, float.NaN];
        Assert.Equal(Bits(Exp(isa, x)), Bits(Exp(isa, x, areNotPositive: true)));
    }

    private static uint[] Bits(float[] numbers) => [.. numbers.Select(number => float.IsNaN(number) ? uint.MaxValue : BitConverter.SingleToUInt32Bits(number))];

    private static float[] Exp(string isa, float[] x, bool areNotPositive = false) => Enum.Parse<Isa>(isa) switch
    {
        Isa.Avx512 or Isa.Amx => Exp<Vectors512, Vector512<float>>(x, areNotPositive),
        Isa.Avx2 or Isa.AvxVnni => Exp<Vectors256, Vector256<float>>(x, areNotPositive),
        _ => Exp<Vectors128, Vector128<float>>(x, areNotPositive),
    };

    private static float[] Exp<TVectors, TVector>(float[] x, bool areNotPositive)
        where TVectors : struct, IVectors<TVector>
        where TVector : struct
    {
        float[] y = [.. x, .. new float[4 * TVectors.Width]];
        fixed (float* at = y)
        {
            for (int i = 0; i < x.Length; i += 4 * TVectors.Width)
            {
                float* second = at + i + TVectors.Width, third = second + TVectors.Width, fourth = third + TVectors.Width;
                TVector a = TVectors.Load(at + i), b = TVectors.Load(second), c = TVectors.Load(third), d = TVectors.Load(fourth);
                if (areNotPositive)
                {
                    Exponential<TVectors, TVector>.OfNotPositive(ref a, ref b, ref c, ref d);
                }
                else
                {
                    Exponential<TVectors, TVector>.Of(ref a, ref b);
                    Exponential<TVectors, TVector>.Of(ref c, ref d);
                }

                TVectors.Store(a, at + i);
                TVectors.Store(b, second);
                TVectors.Store(c, third);
                TVectors.Store(d, fourth);
            }
        }

        return y[..x.Length];
    }
}

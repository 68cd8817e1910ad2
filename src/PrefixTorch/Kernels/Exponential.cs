using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>
/// <c>eˣ</c> of every lane, to two units in the last place: infinite where a float ends, and zero where it would have less than all its digits. Of attention's
/// weights such numbers are nothing, and processors take a hundred times as long for what they multiply.
/// </summary>
/// <remarks>
/// Written out: what the vector types have is a call, which is slow until the runtime has found out that it matters. <c>x = n ln 2 + r</c> with <c>|r|</c> at most half of
/// <c>ln 2</c>, which is taken in two parts (Cody and Waite); then Cephes' polynomial for <c>eʳ</c>. Several registers go side by side: each step waits for the one before, and a
/// processor that looks some twenty steps ahead finds little else to do.
/// </remarks>
internal static class Exponential<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    // The exponential of the smaller one is the smallest float with all its digits; beyond the other it is infinite.
    private const float Smallest = -87.33654f, Largest = 90;

    // Rounds to a whole number, which then stands in the lowest bits as a float has its exponent.
    private const float ExponentShift = WholeNumbers.Shift + 127;

    /// <summary>The exponentials of two registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Of(ref TVector x, ref TVector y)
    {
        TVector smallest = TVectors.Broadcast(Smallest), whole = TVectors.Broadcast(WholeNumbers.Shift), givenX = x, givenY = y;
        x = TVectors.Min(TVectors.Broadcast(Largest), TVectors.Max(smallest, x));
        y = TVectors.Min(TVectors.Broadcast(Largest), TVectors.Max(smallest, y));
        TVector nx = TVectors.Subtract(Turns(x, whole), whole), ny = TVectors.Subtract(Turns(y, whole), whole);
        x = Rest(x, nx);
        y = Rest(y, ny);
        x = OfRest(x);
        y = OfRest(y);
        x = TVectors.ZeroWhereLess(givenX, smallest, TVectors.TimesPowerOfTwo(x, nx));
        y = TVectors.ZeroWhereLess(givenY, smallest, TVectors.TimesPowerOfTwo(y, ny));
    }

    /// <summary>The same of four registers of numbers none of which is positive: with fewer steps, since no power of two is too great or too small for a float.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void OfNotPositive(ref TVector x, ref TVector y, ref TVector z, ref TVector u)
    {
        TVector powerX = Reduce(ref x), powerY = Reduce(ref y), powerZ = Reduce(ref z), powerU = Reduce(ref u);
        x = TVectors.Multiply(OfRest(x), powerX);
        y = TVectors.Multiply(OfRest(y), powerY);
        z = TVectors.Multiply(OfRest(z), powerZ);
        u = TVectors.Multiply(OfRest(u), powerU);
    }

    // x to r. Gives 2ⁿ, or zero where the result is to be zero.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Reduce(ref TVector x)
    {
        TVector smallest = TVectors.Broadcast(Smallest), whole = TVectors.Broadcast(ExponentShift), given = x;
        x = TVectors.Max(smallest, x);
        TVector n = Turns(x, whole);
        x = Rest(x, TVectors.Subtract(n, whole));
        return TVectors.ZeroWhereLess(given, smallest, TVectors.AsExponents(n));
    }

    // n, with what rounds it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Turns(TVector x, TVector whole) => TVectors.MultiplyAdd(x, TVectors.Broadcast(1.44269504f), whole);

    // r.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Rest(TVector x, TVector n) => TVectors.MultiplyAdd(n, TVectors.Broadcast(2.12194440e-4f), TVectors.MultiplyAdd(n, TVectors.Broadcast(-0.693359375f), x));

    // The polynomial, by Horner's rule.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector OfRest(TVector x)
    {
        TVector sum = TVectors.MultiplyAdd(TVectors.Broadcast(1.9875691500e-4f), x, TVectors.Broadcast(1.3981999507e-3f));
        sum = TVectors.MultiplyAdd(sum, x, TVectors.Broadcast(8.3334519073e-3f));
        sum = TVectors.MultiplyAdd(sum, x, TVectors.Broadcast(4.1665795894e-2f));
        sum = TVectors.MultiplyAdd(sum, x, TVectors.Broadcast(1.6666665459e-1f));
        sum = TVectors.MultiplyAdd(sum, x, TVectors.Broadcast(5.0000001201e-1f));
        return TVectors.Add(TVectors.MultiplyAdd(sum, TVectors.Multiply(x, x), x), TVectors.Broadcast(1));
    }
}

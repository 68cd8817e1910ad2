using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>
/// <c>eˣ</c> of every lane, to two units in the last place: infinite where a float ends, and zero where it would have less than all its digits. Of attention's
/// weights such numbers are nothing, and processors take a hundred times as long for what they multiply.
/// </summary>
/// <remarks>Written out: what the vector types have is a call, which is slow until the runtime has found out that it matters.</remarks>
internal static class Exponential<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    // The exponential of the smaller one is the smallest float with all its digits; beyond the other it is infinite.
    private const float Smallest = -87.33654f, Largest = 90;

    /// <summary>The exponentials of two registers, step by step side by side: each step waits for the one before, and a processor that looks some twenty steps ahead finds little else to do.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Of(ref TVector x, ref TVector y)
    {
        // x = n ln 2 + r with |r| at most half of ln 2, which is taken in two parts (Cody and Waite); then Cephes' polynomial for exp(r).
        TVector smallest = TVectors.Broadcast(Smallest), whole = TVectors.Broadcast(WholeNumbers.Shift), givenX = x, givenY = y;
        x = TVectors.Min(TVectors.Broadcast(Largest), TVectors.Max(smallest, x));
        y = TVectors.Min(TVectors.Broadcast(Largest), TVectors.Max(smallest, y));
        TVector nx = TVectors.Subtract(TVectors.MultiplyAdd(x, TVectors.Broadcast(1.44269504f), whole), whole);
        TVector ny = TVectors.Subtract(TVectors.MultiplyAdd(y, TVectors.Broadcast(1.44269504f), whole), whole);
        x = TVectors.MultiplyAdd(nx, TVectors.Broadcast(-0.693359375f), x);
        y = TVectors.MultiplyAdd(ny, TVectors.Broadcast(-0.693359375f), y);
        x = TVectors.MultiplyAdd(nx, TVectors.Broadcast(2.12194440e-4f), x);
        y = TVectors.MultiplyAdd(ny, TVectors.Broadcast(2.12194440e-4f), y);
        TVector sumX = TVectors.Broadcast(1.9875691500e-4f), sumY = sumX;
        Next(ref sumX, ref sumY, x, y, 1.3981999507e-3f);
        Next(ref sumX, ref sumY, x, y, 8.3334519073e-3f);
        Next(ref sumX, ref sumY, x, y, 4.1665795894e-2f);
        Next(ref sumX, ref sumY, x, y, 1.6666665459e-1f);
        Next(ref sumX, ref sumY, x, y, 5.0000001201e-1f);
        sumX = TVectors.MultiplyAdd(sumX, TVectors.Multiply(x, x), x);
        sumY = TVectors.MultiplyAdd(sumY, TVectors.Multiply(y, y), y);
        x = TVectors.ZeroWhereLess(givenX, smallest, TVectors.TimesPowerOfTwo(TVectors.Add(sumX, TVectors.Broadcast(1)), nx));
        y = TVectors.ZeroWhereLess(givenY, smallest, TVectors.TimesPowerOfTwo(TVectors.Add(sumY, TVectors.Broadcast(1)), ny));
    }

    // A polynomial's next step by Horner's rule.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Next(ref TVector sumX, ref TVector sumY, TVector x, TVector y, float coefficient)
    {
        sumX = TVectors.MultiplyAdd(sumX, x, TVectors.Broadcast(coefficient));
        sumY = TVectors.MultiplyAdd(sumY, y, TVectors.Broadcast(coefficient));
    }
}

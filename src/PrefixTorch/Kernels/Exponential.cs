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

    /// <summary>The exponentials of <paramref name="x"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Of(TVector x)
    {
        // x = n ln 2 + r with |r| at most half of ln 2, which is taken in two parts (Cody and Waite); then Cephes' polynomial for exp(r).
        TVector given = x;
        x = TVectors.Min(TVectors.Broadcast(Largest), TVectors.Max(TVectors.Broadcast(Smallest), x));
        TVector whole = TVectors.Broadcast(WholeNumbers.Shift);
        TVector n = TVectors.Subtract(TVectors.MultiplyAdd(x, TVectors.Broadcast(1.44269504f), whole), whole);
        TVector r = TVectors.MultiplyAdd(n, TVectors.Broadcast(-0.693359375f), x);
        r = TVectors.MultiplyAdd(n, TVectors.Broadcast(2.12194440e-4f), r);
        TVector sum = TVectors.MultiplyAdd(r, TVectors.Broadcast(1.9875691500e-4f), TVectors.Broadcast(1.3981999507e-3f));
        sum = TVectors.MultiplyAdd(sum, r, TVectors.Broadcast(8.3334519073e-3f));
        sum = TVectors.MultiplyAdd(sum, r, TVectors.Broadcast(4.1665795894e-2f));
        sum = TVectors.MultiplyAdd(sum, r, TVectors.Broadcast(1.6666665459e-1f));
        sum = TVectors.MultiplyAdd(sum, r, TVectors.Broadcast(5.0000001201e-1f));
        sum = TVectors.Add(TVectors.MultiplyAdd(sum, TVectors.Multiply(r, r), r), TVectors.Broadcast(1));
        return TVectors.ZeroWhereLess(given, TVectors.Broadcast(Smallest), TVectors.TimesPowerOfTwo(sum, n));
    }
}

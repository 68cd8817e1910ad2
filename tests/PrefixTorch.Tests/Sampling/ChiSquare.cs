namespace PrefixTorch.Tests.Sampling;

internal static class ChiSquare
{
    public static double Of(int[] counts, double[] expected) => counts.Zip(expected, (seen, due) => (seen - due) * (seen - due) / due).Sum();
}

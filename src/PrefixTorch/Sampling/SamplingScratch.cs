namespace PrefixTorch.Sampling;

/// <summary>Memory that a sampler uses again at every token, so that choosing one allocates nothing.</summary>
internal sealed class SamplingScratch
{
    private float[] _floats = [];
    private float[] _scores = [];
    private float[] _ranks = [];
    private ulong[] _keys = [];
    private double[] _sums = [];
    private int[] _counts = [];

    /// <summary>Room for <paramref name="length"/> floats, their content undefined.</summary>
    public Span<float> Floats(int length) => Room(ref _floats, length);

    /// <summary>Room for the scores that processors change, which they take for nothing else.</summary>
    public Span<float> Scores(int length) => Room(ref _scores, length);

    /// <summary>Room for <paramref name="length"/> floats more, their content undefined.</summary>
    public Span<float> Ranks(int length) => Room(ref _ranks, length);

    /// <summary>Room for <paramref name="length"/> sort keys, their content undefined.</summary>
    public Span<ulong> Keys(int length) => Room(ref _keys, length);

    /// <summary>Room for <paramref name="length"/> partial sums, their content undefined.</summary>
    public Span<double> Sums(int length) => Room(ref _sums, length);

    /// <summary>A counter for each id, all zero. Whoever counts puts back the zeros: it knows which ids it touched.</summary>
    public Span<int> Counts(int length) => Room(ref _counts, length);

    private static Span<T> Room<T>(ref T[] array, int length)
    {
        if (array.Length < length)
        {
            array = new T[length];
        }

        return array.AsSpan(0, length);
    }
}

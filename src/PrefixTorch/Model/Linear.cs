namespace PrefixTorch.Model;

/// <summary>
/// <c>y = x Wᵀ + b</c>, where W may be several matrices of the checkpoint that share their input (query, key and value; gate and up): their
/// outputs stand side by side in <c>y</c>, and the checkpoint's memory stays as it is.
/// </summary>
internal sealed unsafe class Linear : IDisposable
{
    /// <summary>A product with the given matrices, stacked; <paramref name="bias"/> is for all their outputs, or null.</summary>
    /// <exception cref="PrefixTorchException">The matrices are held in different formats: their input is encoded once for all of them.</exception>
    public Linear(Vector? bias, params WeightMatrix[] parts)
    {
        if (Array.Find(parts, part => part.Format != parts[0].Format) is WeightMatrix other)
        {
            throw new PrefixTorchException($"{parts[0].Name} is held as {parts[0].Format} and {other.Name} as {other.Format}, but they are multiplied together. Quantize the original checkpoint again.");
        }

        Parts = parts;
        Bias = bias;
        OutFeatures = parts.Sum(part => part.Rows);
    }

    /// <summary>The matrices, each <c>[N, K]</c>.</summary>
    public WeightMatrix[] Parts { get; }

    /// <summary>One bias for all outputs, or null.</summary>
    public Vector? Bias { get; }

    /// <summary>Outputs of all parts together.</summary>
    public int OutFeatures { get; }

    /// <summary>How many blocks of so many outputs there are; a block lies in one matrix.</summary>
    public int BlocksOf(int outputs)
    {
        // A loop and no query: it is asked at every product, and decoding allocates nothing.
        int blocks = 0;
        foreach (WeightMatrix part in Parts)
        {
            blocks += BlocksOf(part, outputs);
        }

        return blocks;
    }

    /// <summary>Block <paramref name="block"/>: its matrix, where that one's outputs begin among all, and which of its own outputs are meant.</summary>
    public (WeightMatrix Part, int First, int Start, int End) Block(int block, int outputs)
    {
        int first = 0;
        foreach (WeightMatrix part in Parts)
        {
            int blocks = BlocksOf(part, outputs);
            if (block < blocks)
            {
                int start = block * outputs;
                return (part, first, start, Math.Min(part.Rows, start + outputs));
            }

            block -= blocks;
            first += part.Rows;
        }

        throw new ArgumentOutOfRangeException(nameof(block), block, $"There are {BlocksOf(outputs)} blocks of {outputs} outputs.");
    }

    /// <summary>The bias of output <paramref name="output"/>, among all, and of those behind it; or null.</summary>
    public float* BiasFrom(int output) => Bias is Vector bias ? bias.Data + output : null;

    /// <summary>Frees bias and matrices.</summary>
    public void Dispose()
    {
        Bias?.Dispose();
        foreach (WeightMatrix part in Parts)
        {
            part.Dispose();
        }
    }

    private static int BlocksOf(WeightMatrix part, int outputs) => (part.Rows + outputs - 1) / outputs;
}

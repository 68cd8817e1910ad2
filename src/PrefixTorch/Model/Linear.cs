namespace PrefixTorch.Model;

/// <summary>
/// <c>y = x Wᵀ + b</c>, where W may be several matrices of the checkpoint that share their input (query, key and value; gate and up): their
/// outputs stand side by side in <c>y</c>, and the checkpoint's memory stays as it is.
/// </summary>
internal sealed class Linear : IDisposable
{
    /// <summary>A product with the given matrices, stacked; <paramref name="bias"/> is for all their outputs, or null.</summary>
    public Linear(Vector? bias, params WeightMatrix[] parts)
    {
        Parts = parts;
        Bias = bias;
        InFeatures = parts[0].Columns;
        OutFeatures = parts.Sum(part => part.Rows);
    }

    /// <summary>The matrices, each <c>[N, K]</c>.</summary>
    public WeightMatrix[] Parts { get; }

    /// <summary>One bias for all outputs, or null.</summary>
    public Vector? Bias { get; }

    /// <summary>Inputs (K).</summary>
    public int InFeatures { get; }

    /// <summary>Outputs of all parts together.</summary>
    public int OutFeatures { get; }

    /// <summary>Frees bias and matrices.</summary>
    public void Dispose()
    {
        Bias?.Dispose();
        foreach (WeightMatrix part in Parts)
        {
            part.Dispose();
        }
    }
}

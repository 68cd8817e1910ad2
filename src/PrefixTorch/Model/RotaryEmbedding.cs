namespace PrefixTorch.Model;

/// <summary>
/// cos and sin of every row's angles (Su et al. 2021): angle = position × inverse frequency, both scaled as the rope's kind asks.
/// </summary>
/// <remarks>Angles are computed in fp32 as Hugging Face computes them, so that a far position rounds as it does there.</remarks>
internal sealed unsafe class RotaryEmbedding(float[] inverseFrequencies, float attentionScaling)
{
    /// <summary>Pairs that turn together (D / 2).</summary>
    public int Half => inverseFrequencies.Length;

    /// <summary>Fills <c>cos</c> and <c>sin</c>, each <c>[T, D/2]</c>, for the given positions.</summary>
    public void Fill(ReadOnlySpan<int> positions, float* cos, float* sin)
    {
        for (int t = 0; t < positions.Length; t++)
        {
            for (int i = 0; i < Half; i++)
            {
                (float s, float c) = MathF.SinCos(positions[t] * inverseFrequencies[i]);
                *cos++ = c * attentionScaling;
                *sin++ = s * attentionScaling;
            }
        }
    }
}

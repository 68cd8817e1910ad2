using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>The merge of partial results; see <see cref="AttentionKernel{TVectors, TVector, TElement}"/>.</summary>
internal static unsafe class AttentionMerge<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>Merges <paramref name="count"/> partials that lie <paramref name="stride"/> floats apart, in order, into <c>[D]</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(float* partials, long stride, int count, int headDim, float* to)
    {
        float max = partials[0];
        for (int i = 1; i < count; i++)
        {
            max = MathF.Max(max, partials[i * stride]);
        }

        float sum = 0;
        new Span<float>(to, headDim).Clear();
        for (int i = 0; i < count; i++)
        {
            float* partial = partials + i * stride;
            float weight = MathF.Exp(partial[0] - max);
            sum += partial[1] * weight;
            TVector weights = TVectors.Broadcast(weight);
            int d = 0;
            for (; d + TVectors.Width <= headDim; d += TVectors.Width)
            {
                TVectors.Store(TVectors.MultiplyAdd(TVectors.Load(partial + 2 + d), weights, TVectors.Load(to + d)), to + d);
            }

            for (; d < headDim; d++)
            {
                to[d] += partial[2 + d] * weight;
            }
        }

        for (int d = 0; d < headDim; d++)
        {
            to[d] /= sum;
        }
    }
}

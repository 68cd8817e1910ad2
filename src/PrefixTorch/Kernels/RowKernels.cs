using System.Runtime.CompilerServices;

namespace PrefixTorch.Kernels;

/// <summary>What a layer does to one row besides its products: norm, rope, SwiGLU, sums and conversions. All arithmetic is fp32.</summary>
internal static unsafe class RowKernels<TVectors, TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    /// <summary>Converts <paramref name="count"/> elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Convert<TFrom, TTo>(byte* from, byte* to, long count)
        where TFrom : struct, IElement
        where TTo : struct, IElement
    {
        long i = 0;
        for (; i + TVectors.Width <= count; i += TVectors.Width)
        {
            TTo.Store<TVectors, TVector>(TFrom.Load<TVectors, TVector>(from + i * TFrom.Size), to + i * TTo.Size);
        }

        for (; i < count; i++)
        {
            TTo.Store(TFrom.Load(from + i * TFrom.Size), to + i * TTo.Size);
        }
    }

    /// <summary><c>x += y</c>; the sum stays fp32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Add<TElement>(float* x, byte* y, long count)
        where TElement : struct, IElement
    {
        long i = 0;
        for (; i + TVectors.Width <= count; i += TVectors.Width)
        {
            TVectors.Store(TVectors.Add(TVectors.Load(x + i), TElement.Load<TVectors, TVector>(y + i * TElement.Size)), x + i);
        }

        for (; i < count; i++)
        {
            x[i] += TElement.Load(y + i * TElement.Size);
        }
    }

    /// <summary>RMSNorm of one row: <c>x / √(mean(x²) + ε) × weight</c> (Zhang and Sennrich 2019; Hugging Face <c>LlamaRMSNorm</c>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RmsNorm<TTo>(float* x, float* weight, int columns, float epsilon, byte* to)
        where TTo : struct, IElement
    {
        TVector squares = TVectors.Broadcast(0);
        int i = 0;
        for (; i + TVectors.Width <= columns; i += TVectors.Width)
        {
            TVector v = TVectors.Load(x + i);
            squares = TVectors.MultiplyAdd(v, v, squares);
        }

        float sum = TVectors.Sum(squares);
        for (; i < columns; i++)
        {
            sum += x[i] * x[i];
        }

        float scale = 1 / MathF.Sqrt(sum / columns + epsilon);
        TVector scales = TVectors.Broadcast(scale);
        for (i = 0; i + TVectors.Width <= columns; i += TVectors.Width)
        {
            TVector normed = TVectors.Multiply(TVectors.Load(x + i), scales);
            TTo.Store<TVectors, TVector>(TVectors.Multiply(normed, TVectors.Load(weight + i)), to + (long)i * TTo.Size);
        }

        for (; i < columns; i++)
        {
            TTo.Store(x[i] * scale * weight[i], to + (long)i * TTo.Size);
        }
    }

    /// <summary><c>silu(gate) × up</c> of one row, <c>silu(g) = g / (1 + e⁻ᵍ)</c> (Shazeer 2020).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void SwiGlu<TTo>(float* gate, float* up, int columns, byte* to)
        where TTo : struct, IElement
    {
        TVector one = TVectors.Broadcast(1), zero = TVectors.Broadcast(0);
        int i = 0;
        for (; i + 2 * TVectors.Width <= columns; i += 2 * TVectors.Width)
        {
            TVector g = TVectors.Load(gate + i), h = TVectors.Load(gate + i + TVectors.Width), e = TVectors.Subtract(zero, g), f = TVectors.Subtract(zero, h);
            Exponential<TVectors, TVector>.Of(ref e, ref f);
            TVector silu = TVectors.Divide(g, TVectors.Add(one, e)), next = TVectors.Divide(h, TVectors.Add(one, f));
            TTo.Store<TVectors, TVector>(TVectors.Multiply(silu, TVectors.Load(up + i)), to + (long)i * TTo.Size);
            TTo.Store<TVectors, TVector>(TVectors.Multiply(next, TVectors.Load(up + i + TVectors.Width)), to + (long)(i + TVectors.Width) * TTo.Size);
        }

        for (; i < columns; i++)
        {
            TTo.Store(gate[i] / (1 + MathF.Exp(-gate[i])) * up[i], to + (long)i * TTo.Size);
        }
    }

    /// <summary>
    /// Rotates one head (Su et al. 2021, in Hugging Face's layout: element <c>i</c> turns with <c>i + D/2</c>) and multiplies it by
    /// <paramref name="scale"/>. cos and sin are <c>[D/2]</c> for the row's position.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rotate<TFrom, TTo>(byte* from, float* cos, float* sin, int headDim, float scale, byte* to)
        where TFrom : struct, IElement
        where TTo : struct, IElement
    {
        int half = headDim / 2;
        long fromHalf = (long)half * TFrom.Size, toHalf = (long)half * TTo.Size;
        TVector scales = TVectors.Broadcast(scale);
        int i = 0;
        for (; i + TVectors.Width <= half; i += TVectors.Width)
        {
            TVector c = TVectors.Load(cos + i), s = TVectors.Load(sin + i);
            TVector a = TFrom.Load<TVectors, TVector>(from + (long)i * TFrom.Size);
            TVector b = TFrom.Load<TVectors, TVector>(from + (long)i * TFrom.Size + fromHalf);
            TVector lower = TVectors.Subtract(TVectors.Multiply(a, c), TVectors.Multiply(b, s));
            TVector upper = TVectors.Add(TVectors.Multiply(b, c), TVectors.Multiply(a, s));
            TTo.Store<TVectors, TVector>(TVectors.Multiply(lower, scales), to + (long)i * TTo.Size);
            TTo.Store<TVectors, TVector>(TVectors.Multiply(upper, scales), to + (long)i * TTo.Size + toHalf);
        }

        for (; i < half; i++)
        {
            float a = TFrom.Load(from + (long)i * TFrom.Size), b = TFrom.Load(from + (long)i * TFrom.Size + fromHalf);
            TTo.Store((a * cos[i] - b * sin[i]) * scale, to + (long)i * TTo.Size);
            TTo.Store((b * cos[i] + a * sin[i]) * scale, to + (long)i * TTo.Size + toHalf);
        }
    }
}

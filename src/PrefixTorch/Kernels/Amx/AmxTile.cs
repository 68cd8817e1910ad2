using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace PrefixTorch.Kernels.Amx;

/// <summary>On the way into tiles and out of them.</summary>
internal static unsafe class AmxTile
{
    /// <summary>Copies some rows' last columns of bf16 to rows of 64 bytes, filled up with zeros.</summary>
    public static void Pad(byte* from, long pitch, int rows, int columns, byte* to)
    {
        for (int row = 0; row < rows; row++, from += pitch, to += AmxShape.RowBytes)
        {
            new Span<byte>(to, AmxShape.RowBytes).Clear();
            new ReadOnlySpan<byte>(from, columns * sizeof(ushort)).CopyTo(new Span<byte>(to, AmxShape.RowBytes));
        }
    }

    /// <summary>
    /// Brings a tile of sums, <c>[outputs, rows]</c> with so many bytes from row to row, to <c>y[rows, outputs]</c>: times each output's scale, plus its bias, where there are any.
    /// </summary>
    [SkipLocalsInit]
    public static void Place(byte* sums, long pitch, int outputs, int rows, float* scales, float* bias, float* y, int yStride)
    {
        if (outputs == Square.Size && scales is null && bias is null)
        {
            Square.Turn(sums, pitch, outputs, (byte*)y, yStride * (long)sizeof(float), rows);
            return;
        }

        float* turned = stackalloc float[Square.Size * Square.Size];
        Square.Turn(sums, pitch, outputs, (byte*)turned, AmxShape.RowBytes, rows);
        for (int row = 0; row < rows; row++, turned += Square.Size, y += yStride)
        {
            if (outputs == Square.Size)
            {
                var value = Vector512.Load(turned);
                value = scales is null ? value : value * Vector512.Load(scales);
                (bias is null ? value : value + Vector512.Load(bias)).Store(y);
                continue;
            }

            for (int i = 0; i < outputs; i++)
            {
                float value = scales is null ? turned[i] : turned[i] * scales[i];
                y[i] = bias is null ? value : value + bias[i];
            }
        }
    }
}

using System.Runtime.InteropServices;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>What a tile's code is called with; the code reads the fields by their offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TileArguments
{
    /// <summary>The first of a tile's rows of weights, at the K block's first element.</summary>
    public byte* Weights;

    /// <summary>Bytes from one row of weights to the next.</summary>
    public long WeightPitch;

    /// <summary>The first row of activations, at the same element: bf16, or blocks of <see cref="CodedRows"/>.</summary>
    public byte* X;

    /// <summary>Bytes from one row of activations to the next.</summary>
    public long XPitch;

    /// <summary>Of codes in panels: the first row's scale, in its first group.</summary>
    public byte* XScales;

    /// <summary>Bytes from a group's scales to its corrections, and from these to its offsets.</summary>
    public long XScaleBytes;

    /// <summary>Whole steps; see <see cref="TileLayout"/>.</summary>
    public long Steps;

    /// <summary>A bit for each element behind the last whole step.</summary>
    public uint TailMask;

    /// <summary>Whether the sums are added to what stands in <see cref="Y"/>, or replace it.</summary>
    public uint Adds;

    /// <summary>The outputs of the first row.</summary>
    public float* Y;

    /// <summary>Bytes from one row of outputs to the next.</summary>
    public long YPitch;

    /// <summary>Where the weights lie that the next tile reads: the same step's are asked for, of as many rows as the code does so.</summary>
    public byte* Ahead;

    /// <summary>Memory for the code's own use, where it needs some.</summary>
    public byte* Workspace;

    /// <summary>Rows of weights, where the code takes any number of them.</summary>
    public long Rows;
}

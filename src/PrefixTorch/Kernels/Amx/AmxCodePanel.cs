using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Codes of int4 of sixteen outputs, turned for tiles: of each block sixteen lanes, each with eight times four codes of every output, as the upper halves of bytes;
/// then every output's scale and its zero point, as floats.
/// </summary>
internal static unsafe class AmxCodePanel
{
    /// <summary>Where in a lane the scales begin.</summary>
    public const int ScalesAt = AmxCodeEmitter.Depth * AmxShape.RowBytes;

    /// <summary>Where in a lane the zero points begin.</summary>
    public const int ZerosAt = ScalesAt + AmxShape.RowBytes;

    /// <summary>Bytes of a panel of a K block, and of the lane behind it that the code reads for nothing.</summary>
    public const int Bytes = (AmxCodeEmitter.MostBlocks * AmxCodedRows.BlockBytes) + AmxCodedRows.LaneBytes;

    private const int Outputs = AmxShape.MostRows;
    private const int Line = AmxShape.RowBytes;
    private const int Lanes = CodeFormat.Groups;

    /// <summary>Turns up to sixteen rows, so many blocks of each.</summary>
    [SkipLocalsInit]
    public static void Fill(byte* codes, long pitch, int outputs, int blocks, byte* panel)
    {
        uint* turned = stackalloc uint[Outputs * Lanes];
        uint* headers = stackalloc uint[Outputs * Lanes];
        Vector512<uint> upper = Vector512.Create(0xf0f0f0f0);
        for (int block = 0; block < blocks; block++, codes += CodeFormat.Int4BlockBytes, panel += AmxCodedRows.BlockBytes)
        {
            for (int line = 0; line < AmxCodeEmitter.Depth / 2; line++)
            {
                // A byte has a code of either of two lines of values.
                Square.Turn(codes + CodeFormat.Int4Header + (line * Line), pitch, outputs, (byte*)turned, Line, Lanes);
                byte* to = panel + (2 * line * Line);
                for (int lane = 0; lane < Lanes; lane++, to += AmxCodedRows.LaneBytes)
                {
                    var both = Vector512.Load(turned + (lane * Outputs));
                    ((both << 4) & upper).Store((uint*)to);
                    (both & upper).Store((uint*)(to + Line));
                }
            }

            Headers(codes, pitch, outputs, headers, turned, panel);
        }
    }

    // Scales and zero points are turned together, a pair of bytes to 32 bits.
    private static void Headers(byte* codes, long pitch, int outputs, uint* headers, uint* turned, byte* panel)
    {
        for (int output = 0; output < outputs; output++, codes += pitch)
        {
            Vector512<int> scales = Avx512F.ConvertToVector512Int32(Vector128.Load(codes)), zeros = Avx512F.ConvertToVector512Int32(Vector128.Load(codes + Lanes));
            (scales | (zeros << 16)).AsUInt32().Store(headers + (output * Lanes));
        }

        Square.Turn((byte*)headers, Line, outputs, (byte*)turned, Line, Lanes);
        for (int lane = 0; lane < Lanes; lane++, panel += AmxCodedRows.LaneBytes)
        {
            Vector512<int> pairs = Vector512.Load(turned + (lane * Outputs)).AsInt32();
            Vector512<float> scales = Avx512F.ConvertToVector512Single(pairs & Vector512.Create(0xffff));
            (scales * scales).Store((float*)(panel + ScalesAt));
            Avx512F.ConvertToVector512Single(pairs >> 16).Store((float*)(panel + ZerosAt));
        }
    }
}

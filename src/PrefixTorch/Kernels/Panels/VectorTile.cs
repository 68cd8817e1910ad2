using System.Runtime.CompilerServices;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Panels;

/// <summary>By vectors of any width, in C#: exact in integers within a group.</summary>
internal readonly unsafe struct VectorTile<TProducts, TVectors, TVector> : IPanelTile
    where TProducts : struct, IByteProducts<TVector>
    where TVectors : struct, IVectors<TVector>
    where TVector : struct
{
    private const int Line = Streams.Line;

    // Rows that are computed together, and how few are worth it although all are computed.
    private const int Together = 4;
    private const int FewestTogether = 3;

    // Blocks whose codes stay in the first cache level while a panel's parts, each as wide as a register, are computed.
    private const int Near = 16;

    // How far ahead a single row asks for codes: its panels stand one behind the other in memory.
    private const int BytesAhead = 2 * PanelShape.BytesAhead;

    // Registers of a panel's outputs: one, two or four.
    private static int Registers => CodeFormat.Panel / TVectors.Width;

    [SkipLocalsInit]
    public static void Multiply(int rows, TileArguments* arguments)
    {
        TileArguments some = *arguments;
        for (long left = arguments->Steps; left > 0; left -= Near, some.Adds = 1)
        {
            some.Steps = Math.Min(Near, left);
            for (int row = 0, together; row < rows; row += together)
            {
                together = rows - row >= FewestTogether ? Math.Min(Together, rows - row) : 1;
                if (together > 1)
                {
                    AddTogether(together, row, &some);
                }
                else
                {
                    AddOne(row, &some);
                }
            }

            some.Weights += Near * CodeFormat.Int4BlockBytes;
            some.X += Near * 2 * some.XPitch;
            some.XScales += Near * 2 * some.XPitch;
        }
    }

    public static void MultiplyRow(int panels, TileArguments* arguments)
    {
        TileArguments some = *arguments;
        for (int panel = 0; panel < panels; panel++, some.Weights += some.WeightPitch, some.Y += CodeFormat.Panel)
        {
            AddOne(0, &some);
        }
    }

    [SkipLocalsInit]
    private static void AddTogether(int rows, int first, TileArguments* arguments)
    {
        int pair = Math.Min(2, Registers) * TVectors.Width;
        float* sums = stackalloc float[Together * 2 * TVectors.Width];
        for (int lane = 0; lane < CodeFormat.Panel; lane += pair)
        {
            for (int i = 0; i < Together * pair; i += TVectors.Width)
            {
                bool adds = i / pair < rows && arguments->Adds != 0;
                TVectors.Store(adds ? TVectors.Load((float*)((byte*)arguments->Y + ((first + (i / pair)) * arguments->YPitch)) + lane + (i % pair)) : TVectors.Broadcast(0), sums + i);
            }

            AddLanes(arguments, first, lane, sums, sums);
            for (int i = 0; i < rows * pair; i += TVectors.Width)
            {
                TVectors.Store(TVectors.Load(sums + i), (float*)((byte*)arguments->Y + ((first + (i / pair)) * arguments->YPitch)) + lane + (i % pair));
            }
        }
    }

    // Four rows' products with two registers' outputs, so that each four bytes of a row's are spread out once for both. Where rows are fewer, what stands there comes to nothing. Sums are read
    // and written by two names of one place: by one name its address would be computed first.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddLanes(TileArguments* arguments, int first, int lane, float* sums, float* to)
    {
        byte* w = arguments->Weights, x = arguments->X + (first * CodeFormat.Group), scales = arguments->XScales + (first * sizeof(float));
        long pitch = arguments->XPitch, scaleBytes = arguments->XScaleBytes;
        int at = CodeFormat.Int4Header + (lane * sizeof(float));
        TVector begin = TProducts.BeginInt4;
        for (long block = arguments->Steps; block > 0; block--, w += CodeFormat.Int4BlockBytes)
        {
            if (lane == 0 && first == 0)
            {
                Streams.PrefetchPanelBlock(w + PanelShape.BytesAhead);
            }

            byte* codes = w + at, header = w + lane;
            for (int group = 0; group < 2; group++, x += pitch, scales += pitch, codes += CodeFormat.GroupCodes, header += CodeFormat.GroupHeader)
            {
                TVector d0 = begin, d1 = begin, d2 = begin, d3 = begin, e0 = begin, e1 = begin, e2 = begin, e3 = begin;
                AddPairLine(0, codes, x, ref d0, ref d1, ref d2, ref d3, ref e0, ref e1, ref e2, ref e3);
                AddPairLine(1, codes, x, ref d0, ref d1, ref d2, ref d3, ref e0, ref e1, ref e2, ref e3);
                AddPairLine(2, codes, x, ref d0, ref d1, ref d2, ref d3, ref e0, ref e1, ref e2, ref e3);
                AddPairLine(3, codes, x, ref d0, ref d1, ref d2, ref d3, ref e0, ref e1, ref e2, ref e3);
                LoadHeader(header, out TVector scale, out TVector zeros);
                TVector secondScale = scale, secondZeros = zeros;
                if (Registers > 1)
                {
                    LoadHeader(header + TVectors.Width, out secondScale, out secondZeros);
                }

                // Step by step for all of them: of one, each step waits for the one before.
                (d0, d1, d2, d3) = (TProducts.WholeInt4(d0), TProducts.WholeInt4(d1), TProducts.WholeInt4(d2), TProducts.WholeInt4(d3));
                if (Registers > 1)
                {
                    (e0, e1, e2, e3) = (TProducts.WholeInt4(e0), TProducts.WholeInt4(e1), TProducts.WholeInt4(e2), TProducts.WholeInt4(e3));
                }

                CorrectPair(0, ref d0, ref e0, zeros, secondZeros, scales + scaleBytes);
                CorrectPair(1, ref d1, ref e1, zeros, secondZeros, scales + scaleBytes);
                CorrectPair(2, ref d2, ref e2, zeros, secondZeros, scales + scaleBytes);
                CorrectPair(3, ref d3, ref e3, zeros, secondZeros, scales + scaleBytes);
                WeighPair(0, d0, e0, scale, secondScale, scales, scaleBytes, sums, to);
                WeighPair(1, d1, e1, scale, secondScale, scales, scaleBytes, sums, to);
                WeighPair(2, d2, e2, scale, secondScale, scales, scaleBytes, sums, to);
                WeighPair(3, d3, e3, scale, secondScale, scales, scaleBytes, sums, to);
            }
        }
    }

    // What a line of a group's codes gives with both of its words of values.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddPairLine(
        int line, byte* codes, byte* v, ref TVector d0, ref TVector d1, ref TVector d2, ref TVector d3, ref TVector e0, ref TVector e1, ref TVector e2, ref TVector e3)
    {
        codes += line * Line;
        v += line * 2 * sizeof(int);
        TProducts.UnpackInt4(TVectors.Load((float*)codes), out TVector low, out TVector high);
        TVector secondLow = low, secondHigh = high;
        if (Registers > 1)
        {
            TProducts.UnpackInt4(TVectors.Load((float*)codes + TVectors.Width), out secondLow, out secondHigh);
        }

        DotPair(low, secondLow, v, 0, ref d0, ref e0);
        DotPair(low, secondLow, v, 1, ref d1, ref e1);
        DotPair(low, secondLow, v, 2, ref d2, ref e2);
        DotPair(low, secondLow, v, 3, ref d3, ref e3);
        v += sizeof(int);
        DotPair(high, secondHigh, v, 0, ref d0, ref e0);
        DotPair(high, secondHigh, v, 1, ref d1, ref e1);
        DotPair(high, secondHigh, v, 2, ref d2, ref e2);
        DotPair(high, secondHigh, v, 3, ref d3, ref e3);
    }

    // Four bytes of a row's meet those of both registers' outputs.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void DotPair(TVector codes, TVector secondCodes, byte* v, int row, ref TVector dot, ref TVector second)
    {
        TVector values = TVectors.Broadcast(*(float*)(v + (row * CodeFormat.Group)));
        dot = TProducts.DotInt4(dot, codes, values);
        if (Registers > 1)
        {
            second = TProducts.DotInt4(second, secondCodes, values);
        }
    }

    // Takes away what zero points come to.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CorrectPair(int row, ref TVector dot, ref TVector second, TVector zeros, TVector secondZeros, byte* corrections)
    {
        TVector correction = TVectors.Broadcast(*(float*)(corrections + (row * sizeof(float))));
        dot = TVectors.MultiplyAdd(zeros, correction, dot);
        if (Registers > 1)
        {
            second = TVectors.MultiplyAdd(secondZeros, correction, second);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WeighPair(int row, TVector dot, TVector second, TVector scale, TVector secondScale, byte* scales, long scaleBytes, float* from, float* to)
    {
        int at = row * Math.Min(2, Registers) * TVectors.Width;
        scales += row * sizeof(float);
        TVectors.Store(TVectors.MultiplyAdd(TProducts.ScaleInt4(dot, scales, scaleBytes), scale, TVectors.Load(from + at)), to + at);
        if (Registers > 1)
        {
            at += TVectors.Width;
            TVectors.Store(TVectors.MultiplyAdd(TProducts.ScaleInt4(second, scales, scaleBytes), secondScale, TVectors.Load(from + at)), to + at);
        }
    }

    // One row's products with all outputs, each register of which meets the same four bytes at once.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddOne(int row, TileArguments* arguments)
    {
        byte* w = arguments->Weights, x = arguments->X + (row * CodeFormat.Group), scales = arguments->XScales + (row * sizeof(float));
        float* y = (float*)((byte*)arguments->Y + (row * arguments->YPitch));
        long pitch = arguments->XPitch, scaleBytes = arguments->XScaleBytes;
        TVector begin = TProducts.BeginInt4, zero = TVectors.Broadcast(0), s0 = zero, s1 = zero, s2 = zero, s3 = zero;
        if (arguments->Adds != 0)
        {
            s0 = TVectors.Load(y);
            s1 = Registers > 1 ? TVectors.Load(y + TVectors.Width) : zero;
            s2 = Registers > 2 ? TVectors.Load(y + (2 * TVectors.Width)) : zero;
            s3 = Registers > 2 ? TVectors.Load(y + (3 * TVectors.Width)) : zero;
        }

        // A block's two groups change roles, so that no register is copied to another, which some processors spend a step on.
        TVector e0 = begin, e1 = begin, e2 = begin, e3 = begin;
        byte* header = null;
        for (long block = arguments->Steps; block > 0; block--, w += CodeFormat.Int4BlockBytes)
        {
            byte* codes = w + CodeFormat.Int4Header;
            AddGroup(codes, x, header, scales - pitch, scaleBytes, e0, e1, e2, e3, out TVector d0, out TVector d1, out TVector d2, out TVector d3, ref s0, ref s1, ref s2, ref s3);
            AddGroup(codes + CodeFormat.GroupCodes, x + pitch, w, scales, scaleBytes, d0, d1, d2, d3, out e0, out e1, out e2, out e3, ref s0, ref s1, ref s2, ref s3);
            Streams.Prefetch(w + BytesAhead);
            header = w + CodeFormat.GroupHeader;
            x += 2 * pitch;
            scales += 2 * pitch;
        }

        scales -= pitch;
        s0 = Weigh(s0, e0, header, 0, scales, scaleBytes);
        s1 = Registers > 1 ? Weigh(s1, e1, header, 1, scales, scaleBytes) : s1;
        s2 = Registers > 2 ? Weigh(s2, e2, header, 2, scales, scaleBytes) : s2;
        s3 = Registers > 2 ? Weigh(s3, e3, header, 3, scales, scaleBytes) : s3;
        TVectors.Store(s0, y);
        if (Registers > 1)
        {
            TVectors.Store(s1, y + TVectors.Width);
        }

        if (Registers > 2)
        {
            TVectors.Store(s2, y + (2 * TVectors.Width));
            TVectors.Store(s3, y + (3 * TVectors.Width));
        }
    }

    // One group's products, and between them those of the group before meet its scales: step by step these wait for the one before, and a processor that looks a hundred steps ahead finds little
    // else to do.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddGroup(
        byte* codes,
        byte* x,
        byte* header,
        byte* scales,
        long scaleBytes,
        TVector p0,
        TVector p1,
        TVector p2,
        TVector p3,
        out TVector d0,
        out TVector d1,
        out TVector d2,
        out TVector d3,
        ref TVector s0,
        ref TVector s1,
        ref TVector s2,
        ref TVector s3)
    {
        d0 = d1 = d2 = d3 = TProducts.BeginInt4;
        AddLine(0, codes, x, ref d0, ref d1, ref d2, ref d3);
        if (header != null)
        {
            s0 = Weigh(s0, p0, header, 0, scales, scaleBytes);
            s2 = Registers > 2 ? Weigh(s2, p2, header, 2, scales, scaleBytes) : s2;
        }

        AddLine(1, codes, x, ref d0, ref d1, ref d2, ref d3);
        AddLine(2, codes, x, ref d0, ref d1, ref d2, ref d3);
        if (header != null)
        {
            s1 = Registers > 1 ? Weigh(s1, p1, header, 1, scales, scaleBytes) : s1;
            s3 = Registers > 2 ? Weigh(s3, p3, header, 3, scales, scaleBytes) : s3;
        }

        AddLine(3, codes, x, ref d0, ref d1, ref d2, ref d3);
    }

    // What a line of a group's codes gives with both of its words of values, for all of a panel's registers.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddLine(int line, byte* codes, byte* v, ref TVector d0, ref TVector d1, ref TVector d2, ref TVector d3)
    {
        codes += line * Line;
        Streams.Prefetch(codes + BytesAhead);
        v += line * 2 * sizeof(int);
        TVector first = TVectors.Broadcast(*(float*)v), next = TVectors.Broadcast(*(float*)(v + sizeof(int)));
        d0 = Dot(d0, codes, 0, first, next);
        d1 = Registers > 1 ? Dot(d1, codes, 1, first, next) : d1;
        d2 = Registers > 2 ? Dot(d2, codes, 2, first, next) : d2;
        d3 = Registers > 2 ? Dot(d3, codes, 3, first, next) : d3;
    }

    // The same for one of them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Dot(TVector dot, byte* line, int register, TVector first, TVector next)
    {
        TVector bytes = TVectors.Load((float*)line + (register * TVectors.Width));
        TProducts.UnpackInt4(bytes, out TVector low, out TVector high);
        return TProducts.DotInt4(TProducts.DotInt4(dot, low, first), high, next);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Weigh(TVector sum, TVector dot, byte* header, int register, byte* scales, long scaleBytes)
    {
        LoadHeader(header + (register * TVectors.Width), out TVector scale, out TVector zeros);
        TVector corrected = TVectors.MultiplyAdd(zeros, TVectors.Broadcast(*(float*)(scales + scaleBytes)), TProducts.WholeInt4(dot));
        return TVectors.MultiplyAdd(TProducts.ScaleInt4(corrected, scales, scaleBytes), scale, sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadHeader(byte* header, out TVector scale, out TVector zeros)
    {
        TVector u = TVectors.ToFloat(TVectors.LoadUInt8AsInt32(header));
        scale = TVectors.Multiply(u, u);
        zeros = TVectors.ToFloat(TVectors.LoadUInt8AsInt32(header + CodeFormat.Panel));
    }
}

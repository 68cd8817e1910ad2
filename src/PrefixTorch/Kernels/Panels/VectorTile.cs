using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
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

    // Blocks whose codes stay in the first cache level while a panel's pairs of registers are computed, one after the other.
    private const int Near = 16;

    // How far ahead a single row asks for codes: its panels stand one behind the other in memory.
    private const int BytesAhead = 2 * PanelShape.BytesAhead;

    // Registers of a panel's outputs: one, two or four.
    private static int Registers
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => CodeFormat.Panel / TVectors.Width;
    }

    // Outputs that several rows meet at once, in one register or two.
    private static int Pair
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Math.Min(2, Registers) * TVectors.Width;
    }

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
        float* sums = stackalloc float[Together * 2 * TVectors.Width];
        for (int lane = 0; lane < CodeFormat.Panel; lane += Pair)
        {
            for (int i = 0; i < Together * Pair; i += TVectors.Width)
            {
                bool adds = i / Pair < rows && arguments->Adds != 0;
                TVectors.Store(adds ? TVectors.Load((float*)((byte*)arguments->Y + ((first + (i / Pair)) * arguments->YPitch)) + lane + (i % Pair)) : TVectors.Broadcast(0), sums + i);
            }

            AddLanes(arguments, first, lane, sums, sums);
            for (int i = 0; i < rows * Pair; i += TVectors.Width)
            {
                TVectors.Store(TVectors.Load(sums + i), (float*)((byte*)arguments->Y + ((first + (i / Pair)) * arguments->YPitch)) + lane + (i % Pair));
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
        for (long block = arguments->Steps; block > 0; block--, w += CodeFormat.Int4BlockBytes)
        {
            if (lane == 0 && first == 0)
            {
                Streams.PrefetchPanelBlock(w + PanelShape.BytesAhead);
            }

            byte* codes = w + at, header = w + lane;
            for (int group = 0; group < 2; group++, x += pitch, scales += pitch, codes += CodeFormat.GroupCodes, header += CodeFormat.GroupHeader)
            {
                TVector d0 = TProducts.BeginInt4, d1 = TProducts.BeginInt4, d2 = TProducts.BeginInt4, d3 = TProducts.BeginInt4;
                TVector e0 = TProducts.BeginInt4, e1 = TProducts.BeginInt4, e2 = TProducts.BeginInt4, e3 = TProducts.BeginInt4;
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
        int at = row * Pair;
        scales += row * sizeof(float);
        dot = TProducts.ScaleInt4(dot, scales, scaleBytes);
        second = Registers > 1 ? TProducts.ScaleInt4(second, scales, scaleBytes) : dot;
        TVectors.Store(TVectors.MultiplyAdd(dot, scale, TVectors.Load(from + at)), to + at);
        if (Registers > 1)
        {
            TVectors.Store(TVectors.MultiplyAdd(second, secondScale, TVectors.Load(from + at + TVectors.Width)), to + at + TVectors.Width);
        }
    }

    // One row's products with all outputs, each register of which meets the same four bytes at once.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddOne(int row, TileArguments* arguments)
    {
        float* y = (float*)((byte*)arguments->Y + (row * arguments->YPitch));
        Part a = new(0, y, arguments->Adds), b = new(1, y, arguments->Adds), c = new(2, y, arguments->Adds), d = new(3, y, arguments->Adds);
        byte* w = arguments->Weights, x = arguments->X + (row * CodeFormat.Group), scales = arguments->XScales + (row * sizeof(float));
        long pitch = arguments->XPitch, scaleBytes = arguments->XScaleBytes;

        // Before the first group stands one that comes to nothing.
        float none = 0;
        Weighing before = new(w, (byte*)&none, 0);
        for (long block = arguments->Steps; block > 0; block--, w += CodeFormat.Int4BlockBytes)
        {
            byte* codes = w + CodeFormat.Int4Header;
            AddGroup(codes, x, before, ref a, ref b, ref c, ref d);
            before = new(w, scales, scaleBytes);
            AddGroup(codes + CodeFormat.GroupCodes, x + pitch, before, ref a, ref b, ref c, ref d);
            before = new(w + CodeFormat.GroupHeader, scales + pitch, scaleBytes);
            Streams.Prefetch(w + BytesAhead);
            x += 2 * pitch;
            scales += 2 * pitch;
        }

        a.Finish(0, before, y);
        b.Finish(1, before, y);
        c.Finish(2, before, y);
        d.Finish(3, before, y);
    }

    // One group's products, and between them those of the group before meet its scales. Each of their steps waits for the one before: side by side they would keep a processor waiting that looks
    // some twenty operations ahead, as a Zen 1 does.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddGroup(byte* codes, byte* x, in Weighing before, ref Part a, ref Part b, ref Part c, ref Part d)
    {
        a.Turn();
        b.Turn();
        c.Turn();
        d.Turn();
        AddLine(0, codes, x, before, ref a, ref b, ref c, ref d);
        AddLine(1, codes, x, before, ref a, ref b, ref c, ref d);
        AddLine(2, codes, x, before, ref a, ref b, ref c, ref d);
        AddLine(3, codes, x, before, ref a, ref b, ref c, ref d);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddLine(int line, byte* codes, byte* x, in Weighing before, ref Part a, ref Part b, ref Part c, ref Part d)
    {
        codes += line * Line;
        x += line * 2 * sizeof(int);
        Streams.Prefetch(codes + BytesAhead);
        TVector first = TVectors.Broadcast(*(float*)x), next = TVectors.Broadcast(*(float*)(x + sizeof(int)));
        a.Step(line, 0, codes, first, next, before);
        b.Step(line, 1, codes, first, next, before);
        c.Step(line, 2, codes, first, next, before);
        d.Step(line, 3, codes, first, next, before);
    }

    // Where a group's scales and zero points stand, and the activations' scale; its correction and offset are so many bytes behind it, and twice as many.
    private readonly struct Weighing(byte* header, byte* scales, long scaleBytes)
    {
        public readonly byte* Header = header;
        public readonly byte* Scales = scales;
        public readonly long ScaleBytes = scaleBytes;
    }

    // One of a panel's registers: the products of a group; those of the group before, and the factor that they meet next (zero points, then the root of the scale, then the scale); and the sums.
    // Where a panel has fewer registers, the rest do nothing.
    private struct Part
    {
        public TVector Dot;
        public TVector Before;
        public TVector Factor;
        public TVector Sum;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Part(int register, float* y, uint adds)
        {
            Dot = TProducts.BeginInt4;
            if (register < Registers && adds != 0)
            {
                Sum = TVectors.Load(y + (register * TVectors.Width));
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Turn()
        {
            Before = Dot;
            Dot = TProducts.BeginInt4;
        }

        // What a line of codes gives with both of its words of values; and one of the four steps of the group before.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Step(int line, int register, byte* codes, TVector first, TVector next, in Weighing before)
        {
            if (register < Registers)
            {
                TProducts.UnpackInt4(TVectors.Load((float*)codes + (register * TVectors.Width)), out TVector low, out TVector high);
                Dot = TProducts.DotInt4(TProducts.DotInt4(Dot, low, first), high, next);
                if (typeof(TVector) != typeof(Vector128<float>))
                {
                    Weigh(line, register, before);
                }
                else if (line == 0)
                {
                    // What four registers would hold from line to line does not fit in sixteen.
                    WeighWhole(register, before);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Finish(int register, in Weighing last, float* y)
        {
            if (register < Registers)
            {
                Before = Dot;
                WeighWhole(register, last);
                TVectors.Store(Sum, y + (register * TVectors.Width));
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private void WeighWhole(int register, in Weighing by)
        {
            Weigh(0, register, by);
            Weigh(1, register, by);
            Weigh(2, register, by);
            Weigh(3, register, by);
        }

        // Products as floats, less what zero points come to, times both scales, added up.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private void Weigh(int step, int register, in Weighing by)
        {
            byte* header = by.Header + (register * TVectors.Width);
            switch (step)
            {
                case 0:
                    Factor = Bytes(header + CodeFormat.Panel);
                    Before = TProducts.WholeInt4(Before);
                    break;
                case 1:
                    Before = TVectors.MultiplyAdd(Factor, TVectors.Broadcast(*(float*)(by.Scales + by.ScaleBytes)), Before);
                    Factor = Bytes(header);
                    break;
                case 2:
                    Factor = TVectors.Multiply(Factor, Factor);
                    Before = TProducts.ScaleInt4(Before, by.Scales, by.ScaleBytes);
                    break;
                default:
                    Sum = TVectors.MultiplyAdd(Before, Factor, Sum);
                    break;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadHeader(byte* header, out TVector scale, out TVector zeros)
    {
        TVector root = Bytes(header);
        scale = TVectors.Multiply(root, root);
        zeros = Bytes(header + CodeFormat.Panel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Bytes(byte* at) => TVectors.ToFloat(TVectors.LoadUInt8AsInt32(at));
}

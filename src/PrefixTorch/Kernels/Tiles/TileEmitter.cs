using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>
/// Writes the machine code of a tile: one to six rows of bf16 activations times four rows of weights, summed in fp32 by <c>vdpbf16ps</c> (AVX-512
/// BF16), for which .NET has no intrinsic. It does twice the products of an fp32 multiply-add.
/// </summary>
/// <remarks>
/// Registers run along k: each element of the result has one register of sixteen partial sums, which are added up at the end, always in the same
/// order. So an element's bits depend on its row and its weights alone, not on how many rows or outputs are computed with it.
/// </remarks>
internal static class TileEmitter
{
    /// <summary>Outputs of a tile.</summary>
    public const int Outputs = 4;

    /// <summary>Rows of a tile at most: 24 sums, four weights and an activation fit 32 registers.</summary>
    public const int MaxRows = 6;

    private const int Line = Streams.Line;
    private const int Scratch = MaxRows * Outputs;
    private const int Mask = 28;
    private const int Offset = 29;
    private const int Other = 30;
    private const int Last = 31;

    // Bitwise (a & b) | c.
    private const byte AndOr = 0xea;

    private static readonly AssemblerRegisterZMM[] s_zmm =
    [
        zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
        zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31,
    ];

    private static readonly AssemblerRegisterYMM[] s_ymm =
    [
        ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14, ymm15,
        ymm16, ymm17, ymm18, ymm19, ymm20, ymm21, ymm22, ymm23, ymm24, ymm25, ymm26, ymm27, ymm28, ymm29, ymm30, ymm31,
    ];

    private static readonly AssemblerRegisterXMM[] s_xmm =
    [
        xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15,
        xmm16, xmm17, xmm18, xmm19, xmm20, xmm21, xmm22, xmm23, xmm24, xmm25, xmm26, xmm27, xmm28, xmm29, xmm30, xmm31,
    ];

    // Registers that either calling convention, System V's or Windows', wants back as they were.
    private static readonly AssemblerRegister64[] s_kept = [rsi, rdi, r12, r13, r14, r15];

    private static readonly AssemblerRegisterXMM[] s_keptVectors = [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    // Where things are: weights and three times their pitch, activations and three and five times theirs.
    private static AssemblerRegister64 Arguments => rdi;

    private static AssemblerRegister64 Weights => rax;

    private static AssemblerRegister64 WeightPitch => rcx;

    private static AssemblerRegister64 WeightPitch3 => r9;

    private static AssemblerRegister64 X => rdx;

    private static AssemblerRegister64 XPitch => rsi;

    private static AssemblerRegister64 XPitch3 => r10;

    private static AssemblerRegister64 XPitch5 => r11;

    private static AssemblerRegister64 Steps => r8;

    private static AssemblerRegister64 Ahead => r12;

    // In a grouped tile: its sums over blocks, which have no registers, the stack without them, and constants.
    private static AssemblerRegister64 Sums => r13;

    private static AssemblerRegister64 Stack => r14;

    private static AssemblerRegister64 ConstantsAt => r15;

    /// <summary>The code of a tile.</summary>
    /// <param name="source">What the weights are.</param>
    /// <param name="rows">Rows of activations, 1 … <see cref="MaxRows"/>.</param>
    /// <param name="rowsAhead">Of so many rows of the weights that come next, each step asks for what the next tile's will read.</param>
    public static byte[] Emit(TileSource source, int rows, int rowsAhead)
    {
        bool isGrouped = source is TileSource.Int4 or TileSource.GroupedBFloat16;
        var layout = TileLayout.Of(source, TileProduct.KBlock);
        var code = new Assembler(64) { PreferVex = false };
        Label constants = code.CreateLabel();
        Enter(code);
        for (int i = 0; i < rows * Outputs; i++)
        {
            Clear(code, i);
        }

        if (isGrouped)
        {
            EnterGrouped(code, rows, constants);
        }

        Label loop = code.CreateLabel(), tail = code.CreateLabel(), sums = code.CreateLabel();
        if (source == TileSource.BFloat16)
        {
            code.test(Steps, Steps);
            code.jz(tail);
        }

        code.Label(ref loop);
        for (int n = 0; n < rowsAhead; n++)
        {
            for (int line = 0; line < layout.StepBytes; line += Line)
            {
                // Into the second level: asking for the first was far slower than not asking at all, as it has few places for lines on their way.
                code.prefetcht2(AtRow(Ahead, n, line, __byte_ptr));
            }
        }

        switch (source)
        {
            case TileSource.BFloat16:
                Step(code, rows, n => code.vmovdqu16(s_zmm[Scratch + n], Weight(n, 0, __zmmword_ptr)), 0);
                break;
            case TileSource.Int8:
                Step(code, rows, n => LoadInt8(code, n, 0), 0);
                Step(code, rows, n => LoadInt8(code, n, 32), Line);
                break;
            default:
                GroupedStep(code, source, rows);
                code.cmp(Steps, 1);
                code.je(tail);
                Scale(code, source, rows, stays: false);
                break;
        }

        code.add(Weights, layout.StepBytes);
        code.add(X, layout.StepActivations * sizeof(ushort));
        if (rowsAhead > 0)
        {
            code.add(Ahead, layout.StepBytes);
        }

        code.dec(Steps);
        code.jnz(loop);
        if (source == TileSource.BFloat16)
        {
            code.Label(ref tail);

            // What is left of a row that is no multiple of a register: the rest of the register reads as zeros, and nothing behind the row is touched.
            code.mov(r8d, Field(nameof(TileArguments.TailMask), __dword_ptr));
            code.test(r8d, r8d);
            code.jz(sums);
            code.kmovd(k1, r8d);
            MaskedStep(code, rows);
        }

        if (isGrouped)
        {
            code.Label(ref tail);
            Scale(code, source, rows, stays: true);
        }

        code.Label(ref sums);
        if (isGrouped)
        {
            code.mov(rsp, Stack);
        }

        Finish(code, rows);
        Leave(code);
        Constants(code, ref constants);

        var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
    }

    // A register of each row of weights and each row of activations.
    private static void Step(Assembler code, int rows, Action<int> load, int activations)
    {
        for (int n = 0; n < Outputs; n++)
        {
            load(n);
        }

        for (int row = 0; row < rows; row++)
        {
            code.vmovdqu16(s_zmm[Last], Activation(row, activations));
            for (int n = 0; n < Outputs; n++)
            {
                code.vdpbf16ps(s_zmm[(row * Outputs) + n], s_zmm[Scratch + n], s_zmm[Last]);
            }
        }
    }

    private static void LoadInt8(Assembler code, int n, int offset)
    {
        code.vpmovsxbd(s_zmm[Last], Weight(n, offset, __xmmword_ptr));
        code.vpmovsxbd(s_zmm[Scratch + n], Weight(n, offset + 16, __xmmword_ptr));
        code.vcvtdq2ps(s_zmm[Last], s_zmm[Last]);
        code.vcvtdq2ps(s_zmm[Scratch + n], s_zmm[Scratch + n]);
        code.vcvtne2ps2bf16(s_zmm[Scratch + n], s_zmm[Scratch + n], s_zmm[Last]);
    }

    private static void MaskedStep(Assembler code, int rows)
    {
        for (int n = 0; n < Outputs; n++)
        {
            code.vmovdqu16(s_zmm[Scratch + n].k1.z, Weight(n, 0, __zmmword_ptr));
        }

        for (int row = 0; row < rows; row++)
        {
            code.vmovdqu16(s_zmm[Last].k1.z, Activation(row, 0));
            for (int n = 0; n < Outputs; n++)
            {
                code.vdpbf16ps(s_zmm[(row * Outputs) + n], s_zmm[Scratch + n], s_zmm[Last]);
            }
        }
    }

    // One block of 512, a group to a lane: activations times codes plus 128, less the groups' sums of activations times 128 plus zero point.
    private static void GroupedStep(Assembler code, TileSource source, int rows)
    {
        bool isInt4 = source == TileSource.Int4;
        if (isInt4)
        {
            code.vbroadcastss(s_zmm[Other], __dword_ptr[ConstantsAt]);
            code.vbroadcastss(s_zmm[Last], __dword_ptr[ConstantsAt + sizeof(float)]);
        }

        for (int n = 0; n < Outputs; n++)
        {
            if (isInt4)
            {
                LoadUInt8(code, n, CodeFormat.Groups);
                code.vfmadd132ps(s_zmm[Scratch + n], s_zmm[Last], s_zmm[Other]);
            }
            else
            {
                code.vmovups(s_zmm[Scratch + n], Weight(n, Line, __zmmword_ptr));
            }

            for (int row = 0; row < rows; row++)
            {
                code.vmulps(s_zmm[(row * Outputs) + n], s_zmm[Scratch + n], Activation(row, CodeFormat.Int4Block * sizeof(ushort)));
            }
        }

        for (int part = 0; part < CodeFormat.Int4Block * sizeof(ushort) / Line; part++)
        {
            Step(code, rows, n => LoadPart(code, isInt4, n, part), part * Line);
        }
    }

    // Times the groups' scales, added to the blocks before; the last block's sums stay in registers.
    private static void Scale(Assembler code, TileSource source, int rows, bool stays)
    {
        for (int n = 0; n < Outputs; n++)
        {
            if (source == TileSource.Int4)
            {
                LoadUInt8(code, n, 0);
                code.vmulps(s_zmm[Scratch + n], s_zmm[Scratch + n], s_zmm[Scratch + n]);
            }
            else
            {
                code.vmovups(s_zmm[Scratch + n], Weight(n, 0, __zmmword_ptr));
            }

            for (int row = 0; row < rows; row++)
            {
                int i = (row * Outputs) + n;
                code.vfmadd213ps(s_zmm[i], s_zmm[Scratch + n], Sum(i));
                if (!stays)
                {
                    code.vmovaps(Sum(i), s_zmm[i]);
                }
            }
        }
    }

    private static void LoadPart(Assembler code, bool isInt4, int n, int part)
    {
        AssemblerRegisterZMM to = s_zmm[Scratch + n];
        if (!isInt4)
        {
            code.vmovdqu16(to, Weight(n, TileWidening.WidenedInt4Header + (part * Line), __zmmword_ptr));
            return;
        }

        AssemblerMemoryOperand codes = Weight(n, CodeFormat.Int4Header + (part / 4 * Line), __zmmword_ptr);
        if (part % 4 == 0)
        {
            code.vmovdqu16(to, codes);
        }
        else
        {
            code.vpsrlw(to, codes, (byte)(part % 4 * 4));
        }

        code.vpternlogd(to, s_zmm[Mask], s_zmm[Offset], AndOr);
    }

    private static void LoadUInt8(Assembler code, int n, int offset)
    {
        code.vpmovzxbd(s_zmm[Scratch + n], Weight(n, offset, __xmmword_ptr));
        code.vcvtdq2ps(s_zmm[Scratch + n], s_zmm[Scratch + n]);
    }

    // Four registers of sixteen sums become one of four: pairs of lanes first, then the four quarters.
    private static void Finish(Assembler code, int rows)
    {
        code.mov(rax, Field(nameof(TileArguments.Y), __qword_ptr));
        code.mov(rcx, Field(nameof(TileArguments.YPitch), __qword_ptr));
        code.mov(r8d, Field(nameof(TileArguments.Adds), __dword_ptr));
        const int a = Scratch, b = a + 1, c = a + 2, d = a + 3;
        for (int row = 0; row < rows; row++)
        {
            int first = row * Outputs;
            code.vunpcklps(s_zmm[a], s_zmm[first], s_zmm[first + 1]);
            code.vunpckhps(s_zmm[b], s_zmm[first], s_zmm[first + 1]);
            code.vaddps(s_zmm[a], s_zmm[a], s_zmm[b]);
            code.vunpcklps(s_zmm[c], s_zmm[first + 2], s_zmm[first + 3]);
            code.vunpckhps(s_zmm[d], s_zmm[first + 2], s_zmm[first + 3]);
            code.vaddps(s_zmm[c], s_zmm[c], s_zmm[d]);
            code.vunpcklpd(s_zmm[b], s_zmm[a], s_zmm[c]);
            code.vunpckhpd(s_zmm[d], s_zmm[a], s_zmm[c]);
            code.vaddps(s_zmm[first], s_zmm[b], s_zmm[d]);
            code.vextractf64x4(s_ymm[a], s_zmm[first], 1);
            code.vaddps(s_ymm[a], s_ymm[a], s_ymm[first]);
            code.vextractf32x4(s_xmm[b], s_ymm[a], 1);
            code.vaddps(s_xmm[first], s_xmm[a], s_xmm[b]);
        }

        Label replace = code.CreateLabel(), done = code.CreateLabel();
        code.test(r8d, r8d);
        code.jz(replace);
        for (int row = 0; row < rows; row++)
        {
            code.vaddps(s_xmm[row * Outputs], s_xmm[row * Outputs], __xmmword_ptr[rax]);
            code.vmovups(__xmmword_ptr[rax], s_xmm[row * Outputs]);
            code.add(rax, rcx);
        }

        code.jmp(done);
        code.Label(ref replace);
        for (int row = 0; row < rows; row++)
        {
            code.vmovups(__xmmword_ptr[rax], s_xmm[row * Outputs]);
            code.add(rax, rcx);
        }

        code.Label(ref done);
    }

    private static void Enter(Assembler code)
    {
        foreach (AssemblerRegister64 register in s_kept)
        {
            code.push(register);
        }

        if (OperatingSystem.IsWindows())
        {
            code.sub(rsp, s_keptVectors.Length * 16);
            for (int i = 0; i < s_keptVectors.Length; i++)
            {
                code.vmovups(__xmmword_ptr[rsp + (i * 16)], s_keptVectors[i]);
            }

            code.mov(Arguments, rcx);
        }

        code.mov(Weights, Field(nameof(TileArguments.Weights), __qword_ptr));
        code.mov(WeightPitch, Field(nameof(TileArguments.WeightPitch), __qword_ptr));
        code.mov(X, Field(nameof(TileArguments.X), __qword_ptr));
        code.mov(XPitch, Field(nameof(TileArguments.XPitch), __qword_ptr));
        code.mov(Steps, Field(nameof(TileArguments.Steps), __qword_ptr));
        code.mov(Ahead, Field(nameof(TileArguments.Ahead), __qword_ptr));
        code.lea(WeightPitch3, __[WeightPitch + (WeightPitch * 2)]);
        code.lea(XPitch3, __[XPitch + (XPitch * 2)]);
        code.lea(XPitch5, __[XPitch + (XPitch * 4)]);
    }

    // Room for the sums, which begin as zeros.
    private static void EnterGrouped(Assembler code, int rows, Label constants)
    {
        code.mov(Stack, rsp);
        code.sub(rsp, rows * Outputs * Line);
        code.and(rsp, -Line);
        code.mov(Sums, rsp);
        code.lea(ConstantsAt, __[constants]);
        for (int i = 0; i < rows * Outputs; i++)
        {
            code.vmovaps(Sum(i), s_zmm[i]);
        }

        code.vpbroadcastd(s_zmm[Mask], __dword_ptr[ConstantsAt + (2 * sizeof(float))]);
        code.vpbroadcastd(s_zmm[Offset], __dword_ptr[ConstantsAt + (3 * sizeof(float))]);
    }

    private static void Leave(Assembler code)
    {
        if (OperatingSystem.IsWindows())
        {
            for (int i = 0; i < s_keptVectors.Length; i++)
            {
                code.vmovups(s_keptVectors[i], __xmmword_ptr[rsp + (i * 16)]);
            }

            code.add(rsp, s_keptVectors.Length * 16);
        }

        code.vzeroupper();
        foreach (AssemblerRegister64 register in s_kept.Reverse())
        {
            code.pop(register);
        }

        code.ret();
    }

    // Behind the code: of int4, the part of a step that zero points count in and the offset that codes are made bf16 with; a pair's mask and offset.
    private static void Constants(Assembler code, ref Label constants)
    {
        code.Label(ref constants);
        code.dd(-1f / CodeFormat.ZeroParts);
        code.dd(-TileWidening.Int4Offset);
        code.dd(CodeFormat.Int4Largest * 0x10001u);
        code.dd(TileWidening.Int4OffsetBits * 0x10001u);
    }

    private static void Clear(Assembler code, int register) => code.vpxord(s_zmm[register], s_zmm[register], s_zmm[register]);

    private static AssemblerMemoryOperand Field(string name, AssemblerMemoryOperandFactory size) =>
        size[Arguments + (int)Marshal.OffsetOf<TileArguments>(name)];

    private static AssemblerMemoryOperand Weight(int n, int offset, AssemblerMemoryOperandFactory size) => AtRow(Weights, n, offset, size);

    private static AssemblerMemoryOperand AtRow(AssemblerRegister64 first, int n, int offset, AssemblerMemoryOperandFactory size) => n switch
    {
        0 => size[first + offset],
        1 => size[first + WeightPitch + offset],
        2 => size[first + (WeightPitch * 2) + offset],
        _ => size[first + WeightPitch3 + offset],
    };

    private static AssemblerMemoryOperand Sum(int i) => __zmmword_ptr[Sums + (i * Line)];

    private static AssemblerMemoryOperand Activation(int row, int offset) => row switch
    {
        0 => __zmmword_ptr[X + offset],
        1 => __zmmword_ptr[X + XPitch + offset],
        2 => __zmmword_ptr[X + (XPitch * 2) + offset],
        3 => __zmmword_ptr[X + XPitch3 + offset],
        4 => __zmmword_ptr[X + (XPitch * 4) + offset],
        _ => __zmmword_ptr[X + XPitch5 + offset],
    };
}

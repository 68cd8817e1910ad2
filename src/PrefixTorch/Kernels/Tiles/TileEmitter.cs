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

    /// <summary>Elements of a step of an ungrouped tile: a register of bf16.</summary>
    public const int StepElements = 32;

    private const int Line = 64;
    private const int Scratch = MaxRows * Outputs;
    private const int Table = Scratch + 6;
    private const int Places = Scratch + 7;
    private const int Last = 31;

    // The sixteen-bit lanes that are the upper halves of floats.
    private const uint UpperHalves = 0xaaaa_aaaa;

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

    private static AssemblerRegister64 Scales => r13;

    private static AssemblerRegister64 ScalePitch => r14;

    private static AssemblerRegister64 ScalePitch3 => r15;

    /// <summary>The code of a tile.</summary>
    /// <param name="source">What the weights are.</param>
    /// <param name="rows">Rows of activations, 1 … <see cref="MaxRows"/>.</param>
    /// <param name="linesAhead">Cache lines asked for in each step.</param>
    public static byte[] Emit(TileSource source, int rows, int linesAhead)
    {
        bool isGrouped = source is TileSource.Int4 or TileSource.GroupedBFloat16;
        var code = new Assembler(64) { PreferVex = false };
        Label table = code.CreateLabel(), places = code.CreateLabel();
        Enter(code, isGrouped, table, places);
        for (int i = 0; i < rows * Outputs; i++)
        {
            Clear(code, i);
        }

        Label loop = code.CreateLabel(), tail = code.CreateLabel(), sums = code.CreateLabel();
        code.test(Steps, Steps);
        code.jz(source == TileSource.BFloat16 ? tail : sums);
        code.Label(ref loop);
        for (int i = 0; i < linesAhead; i++)
        {
            code.prefetcht2(__byte_ptr[Ahead + (i * Line)]);
        }

        if (isGrouped)
        {
            GroupedStep(code, source, rows);
        }
        else
        {
            Step(code, source, rows);
        }

        code.add(Weights, WeightBytes(source));
        code.add(X, isGrouped ? CodeFormat.Block * sizeof(ushort) : Line);
        if (isGrouped)
        {
            code.add(Scales, CodeFormat.Groups * sizeof(ushort));
        }

        if (linesAhead > 0)
        {
            code.add(Ahead, linesAhead * Line);
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

        code.Label(ref sums);
        Finish(code, rows);
        Leave(code);
        if (isGrouped)
        {
            Constants(code, ref table, ref places);
        }

        var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
    }

    private static int WeightBytes(TileSource source) => source switch
    {
        TileSource.BFloat16 => StepElements * sizeof(ushort),
        TileSource.Int8 => StepElements,
        TileSource.Int4 => CodeFormat.Int4BlockBytes,
        _ => CodeFormat.Block * sizeof(ushort),
    };

    private static void Step(Assembler code, TileSource source, int rows)
    {
        for (int n = 0; n < Outputs; n++)
        {
            if (source == TileSource.Int8)
            {
                code.vpmovsxbd(s_zmm[Last], Weight(n, 0, __xmmword_ptr));
                code.vpmovsxbd(s_zmm[Scratch + n], Weight(n, StepElements / 2, __xmmword_ptr));
                code.vcvtdq2ps(s_zmm[Last], s_zmm[Last]);
                code.vcvtdq2ps(s_zmm[Scratch + n], s_zmm[Scratch + n]);
                code.vcvtne2ps2bf16(s_zmm[Scratch + n], s_zmm[Scratch + n], s_zmm[Last]);
            }
            else
            {
                code.vmovdqu16(s_zmm[Scratch + n], Weight(n, 0, __zmmword_ptr));
            }
        }

        for (int row = 0; row < rows; row++)
        {
            code.vmovdqu16(s_zmm[Last], Activation(row, 0));
            for (int n = 0; n < Outputs; n++)
            {
                code.vdpbf16ps(s_zmm[(row * Outputs) + n], s_zmm[Scratch + n], s_zmm[Last]);
            }
        }
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

    // One block of 128: the sum of codes times activations, whose lanes belong to one group each, then times the groups' scales.
    private static void GroupedStep(Assembler code, TileSource source, int rows)
    {
        const int sum = Scratch + 4, scale = Scratch + 5;
        for (int n = 0; n < Outputs; n++)
        {
            for (int part = 0; part < (source == TileSource.GroupedBFloat16 ? 4 : 1); part++)
            {
                code.vmovdqu16(s_zmm[Scratch + part], Weight(n, part * Line, __zmmword_ptr));
            }

            if (source == TileSource.Int4)
            {
                // The table has each code's value twice, so that the fifth bit of an index, which belongs to the next code, does not matter.
                code.vpsrlw(s_zmm[Scratch + 1], s_zmm[Scratch], 4);
                code.vpsrlw(s_zmm[Scratch + 2], s_zmm[Scratch], 8);
                code.vpsrlw(s_zmm[Scratch + 3], s_zmm[Scratch], 12);
                for (int part = 0; part < 4; part++)
                {
                    code.vpermw(s_zmm[Scratch + part], s_zmm[Scratch + part], s_zmm[Table]);
                }
            }

            code.vpbroadcastq(s_zmm[scale], n switch
            {
                0 => __qword_ptr[Scales],
                1 => __qword_ptr[Scales + ScalePitch],
                2 => __qword_ptr[Scales + (ScalePitch * 2)],
                _ => __qword_ptr[Scales + ScalePitch3],
            });
            code.vpermw(s_zmm[scale].k2.z, s_zmm[Places], s_zmm[scale]);
            for (int row = 0; row < rows; row++)
            {
                Clear(code, sum);
                for (int part = 0; part < 4; part++)
                {
                    code.vdpbf16ps(s_zmm[sum], s_zmm[Scratch + part], Activation(row, part * Line));
                }

                code.vfmadd231ps(s_zmm[(row * Outputs) + n], s_zmm[sum], s_zmm[scale]);
            }
        }
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

    private static void Enter(Assembler code, bool isGrouped, Label table, Label places)
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
        if (isGrouped)
        {
            code.vmovdqu16(s_zmm[Table], __zmmword_ptr[table]);
            code.vmovdqu16(s_zmm[Places], __zmmword_ptr[places]);
            code.mov(r15d, UpperHalves);
            code.kmovd(k2, r15d);
            code.mov(Scales, Field(nameof(TileArguments.Scales), __qword_ptr));
            code.mov(ScalePitch, Field(nameof(TileArguments.ScalePitch), __qword_ptr));
            code.lea(ScalePitch3, __[ScalePitch + (ScalePitch * 2)]);
        }
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

    // Behind the code: the value of each four-bit code, twice over, and where a block's four scales go: 32-bit lane d takes that of group d mod 4.
    private static void Constants(Assembler code, ref Label table, ref Label places)
    {
        var values = new ushort[32];
        var lanes = new ushort[32];
        for (int lane = 0; lane < 32; lane++)
        {
            values[lane] = (ushort)(BitConverter.SingleToUInt32Bits((lane % 16) - CodeFormat.Int4Zero) >> 16);
            lanes[lane] = (ushort)(lane / 2 % CodeFormat.Groups);
        }

        code.Label(ref table);
        Array.ForEach(values, value => code.dw(value));
        code.Label(ref places);
        Array.ForEach(lanes, lane => code.dw(lane));
    }

    private static void Clear(Assembler code, int register) => code.vpxord(s_zmm[register], s_zmm[register], s_zmm[register]);

    private static AssemblerMemoryOperand Field(string name, AssemblerMemoryOperandFactory size) =>
        size[Arguments + (int)Marshal.OffsetOf<TileArguments>(name)];

    private static AssemblerMemoryOperand Weight(int n, int offset, AssemblerMemoryOperandFactory size) => n switch
    {
        0 => size[Weights + offset],
        1 => size[Weights + WeightPitch + offset],
        2 => size[Weights + (WeightPitch * 2) + offset],
        _ => size[Weights + WeightPitch3 + offset],
    };

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

using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>
/// Writes the machine code of a tile: one to six rows of activations times four rows of weights, by instructions for which .NET has no intrinsic:
/// <c>vdpbf16ps</c> (AVX-512 BF16), which does twice the products of an fp32 multiply-add, and for codes <c>vpdpbusd</c> (AVX-512 VNNI), four times.
/// </summary>
/// <remarks>
/// <para>
/// Registers run along k: each element of the result has one register of sixteen partial sums, which are added up at the end, always in the same
/// order. So an element's bits depend on its row and its weights alone, not on how many rows or outputs are computed with it.
/// </para>
/// <para>
/// Codes and activations of a block (<see cref="CodedRows"/>) are multiplied and added up in integers, exactly; then each lane meets its scales. The
/// instruction takes unsigned weights: int8's are made so by adding 128, int4's are the upper four bits of a byte, which is 16 times the code.
/// </para>
/// </remarks>
internal static class TileEmitter
{
    /// <summary>Outputs of a tile.</summary>
    public const int Outputs = 4;

    /// <summary>Rows of a tile at most: 24 sums, four weights and an activation fit 32 registers.</summary>
    public const int MaxRows = 6;

    private const int Line = Streams.Line;
    private const int Scratch = MaxRows * Outputs;
    private const int Mask = 30;
    private const int Last = 31;
    private const uint UpperHalves = 0xf0f0f0f0;
    private const uint SignBits = 0x80808080;

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
    private static readonly AssemblerRegister64[] s_kept = [rbx, rsi, rdi, r12, r13, r14, r15];

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

    // With codes: the block's activations, sums over blocks, which have no registers, the stack without them, and the steps of a block.
    private static AssemblerRegister64 Values => rbx;

    private static AssemblerRegister64 Sums => r13;

    private static AssemblerRegister64 Stack => r14;

    private static AssemblerRegister64 BlockSteps => r15;

    /// <summary>The code of a tile.</summary>
    /// <param name="source">What the weights are.</param>
    /// <param name="rows">Rows of activations, 1 … <see cref="MaxRows"/>.</param>
    /// <param name="rowsAhead">Of so many rows of the weights that come next, each step asks for what the next tile's will read.</param>
    public static byte[] Emit(TileSource source, int rows, int rowsAhead)
    {
        var code = new Assembler(64) { PreferVex = false };
        Enter(code);
        switch (source)
        {
            case TileSource.BFloat16:
                Floats(code, rows, rowsAhead);
                break;
            case TileSource.Int8:
                EnterCodes(code, rows, SignBits);
                Int8(code, rows, rowsAhead);
                LeaveCodes(code, rows);
                break;
            default:
                EnterCodes(code, rows, UpperHalves);
                Int4(code, rows, rowsAhead);
                LeaveCodes(code, rows);
                break;
        }

        Finish(code, rows);
        Leave(code);

        var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
    }

    private static void Floats(Assembler code, int rows, int rowsAhead)
    {
        const int stepBytes = Line;
        for (int i = 0; i < rows * Outputs; i++)
        {
            Clear(code, i);
        }

        Label loop = code.CreateLabel(), tail = code.CreateLabel(), sums = code.CreateLabel();
        code.test(Steps, Steps);
        code.jz(tail);
        code.Label(ref loop);
        AskAhead(code, rowsAhead, stepBytes);
        Multiply(code, rows, n => code.vmovdqu16(s_zmm[Scratch + n], Weight(n, 0, __zmmword_ptr)), row => code.vmovdqu16(s_zmm[Last], AtRow(X, row, 0)), code.vdpbf16ps);
        code.add(Weights, stepBytes);
        code.add(X, stepBytes);
        code.dec(Steps);
        code.jnz(loop);

        // What is left of a row that is no multiple of a register: the rest of the register reads as zeros, and nothing behind the row is touched.
        code.Label(ref tail);
        code.mov(r8d, Field(nameof(TileArguments.TailMask), __dword_ptr));
        code.test(r8d, r8d);
        code.jz(sums);
        code.kmovd(k1, r8d);
        Multiply(code, rows, n => code.vmovdqu16(s_zmm[Scratch + n].k1.z, Weight(n, 0, __zmmword_ptr)), row => code.vmovdqu16(s_zmm[Last].k1.z, AtRow(X, row, 0)), code.vdpbf16ps);
        code.Label(ref sums);
    }

    // Signed bytes: the last block of a row may have fewer steps.
    private static void Int8(Assembler code, int rows, int rowsAhead)
    {
        Label block = code.CreateLabel(), step = code.CreateLabel();
        code.Label(ref block);
        for (int row = 0; row < rows; row++)
        {
            code.vmovdqa32(s_zmm[row * Outputs], AtRow(X, row, CodedRows.CorrectionsAt));
            for (int n = 1; n < Outputs; n++)
            {
                code.vmovdqa32(s_zmm[(row * Outputs) + n], s_zmm[row * Outputs]);
            }
        }

        code.lea(Values, __[X + CodedRows.ValuesAt]);
        code.mov(BlockSteps, CodedRows.Block / CodeFormat.Int8Block);
        code.cmp(Steps, BlockSteps);
        code.cmovb(BlockSteps, Steps);
        code.sub(Steps, BlockSteps);
        code.Label(ref step);
        AskAhead(code, rowsAhead, CodeFormat.Int8Block);
        for (int line = 0; line < CodeFormat.Int8Block; line += Line)
        {
            int at = line;
            MultiplyBytes(code, rows, n => code.vpxord(s_zmm[Scratch + n], s_zmm[Mask], Weight(n, at, __zmmword_ptr)), at);
        }

        code.add(Weights, CodeFormat.Int8Block);
        code.add(Values, CodeFormat.Int8Block);
        code.dec(BlockSteps);
        code.jnz(step);
        AddBlock(code, rows, hasScales: false);
        code.test(Steps, Steps);
        code.jnz(block);
    }

    // Four bits: 16 × code times activation, less zero point times the lane's sum of activations; then the lane's scale.
    private static void Int4(Assembler code, int rows, int rowsAhead)
    {
        Label block = code.CreateLabel();
        code.Label(ref block);
        AskAhead(code, rowsAhead, CodeFormat.Int4BlockBytes);
        for (int i = 0; i < rows * Outputs; i++)
        {
            Clear(code, i);
        }

        code.lea(Values, __[X + CodedRows.ValuesAt]);
        for (int line = 0; line < CodeFormat.Int4Block / 2; line += Line)
        {
            int at = CodeFormat.Int4Header + line;
            MultiplyBytes(code, rows, LoadLower, 2 * line);
            MultiplyBytes(code, rows, n => code.vpandd(s_zmm[Scratch + n], s_zmm[Mask], Weight(n, at, __zmmword_ptr)), (2 * line) + Line);

            void LoadLower(int n)
            {
                code.vpslld(s_zmm[Scratch + n], Weight(n, at, __zmmword_ptr), 4);
                code.vpandd(s_zmm[Scratch + n], s_zmm[Scratch + n], s_zmm[Mask]);
            }
        }

        Multiply(
            code, rows, n => code.vpmovzxbd(s_zmm[Scratch + n], Weight(n, CodeFormat.Groups, __xmmword_ptr)),
            row => code.vmovdqa32(s_zmm[Last], AtRow(X, row, CodedRows.CorrectionsAt)), code.vpdpwssd);
        for (int n = 0; n < Outputs; n++)
        {
            code.vpmovzxbd(s_zmm[Scratch + n], Weight(n, 0, __xmmword_ptr));
            code.vcvtdq2ps(s_zmm[Scratch + n], s_zmm[Scratch + n]);
            code.vmulps(s_zmm[Scratch + n], s_zmm[Scratch + n], s_zmm[Scratch + n]);
        }

        AddBlock(code, rows, hasScales: true);
        code.add(Weights, CodeFormat.Int4BlockBytes);
        code.dec(Steps);
        code.jnz(block);
    }

    // Into the second level: asking for the first was far slower than not asking at all, as it has few places for lines on their way.
    private static void AskAhead(Assembler code, int rows, int bytes)
    {
        for (int n = 0; n < rows; n++)
        {
            for (int line = 0; line < bytes; line += Line)
            {
                code.prefetcht2(Weight(Ahead, n, line, __byte_ptr));
            }
        }

        if (rows > 0)
        {
            code.add(Ahead, bytes);
        }
    }

    // A register of each row of weights and each row of activations.
    private static void Multiply(Assembler code, int rows, Action<int> loadWeights, Action<int> loadActivations, Action<AssemblerRegisterZMM, AssemblerRegisterZMM, AssemblerRegisterZMM> multiply)
    {
        for (int n = 0; n < Outputs; n++)
        {
            loadWeights(n);
        }

        for (int row = 0; row < rows; row++)
        {
            loadActivations(row);
            for (int n = 0; n < Outputs; n++)
            {
                multiply(s_zmm[(row * Outputs) + n], s_zmm[Scratch + n], s_zmm[Last]);
            }
        }
    }

    private static void MultiplyBytes(Assembler code, int rows, Action<int> loadWeights, int values) =>
        Multiply(code, rows, loadWeights, row => code.vmovdqa32(s_zmm[Last], AtRow(Values, row, values)), code.vpdpbusd);

    // A block's products as floats, times the activations' scales and the weights' groups', to the blocks before.
    private static void AddBlock(Assembler code, int rows, bool hasScales)
    {
        for (int row = 0; row < rows; row++)
        {
            code.vmovaps(s_zmm[Last], AtRow(X, row, 0));
            for (int n = 0; n < Outputs; n++)
            {
                int i = (row * Outputs) + n;
                code.vcvtdq2ps(s_zmm[i], s_zmm[i]);
                if (hasScales)
                {
                    code.vmulps(s_zmm[i], s_zmm[i], s_zmm[Last]);
                }

                code.vfmadd213ps(s_zmm[i], s_zmm[hasScales ? Scratch + n : Last], Sum(i));
                code.vmovaps(Sum(i), s_zmm[i]);
            }
        }

        code.add(X, CodedRows.BlockBytes);
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
    private static void EnterCodes(Assembler code, int rows, uint mask)
    {
        code.mov(Stack, rsp);
        code.sub(rsp, rows * Outputs * Line);
        code.and(rsp, -Line);
        code.mov(Sums, rsp);
        Clear(code, 0);
        for (int i = 0; i < rows * Outputs; i++)
        {
            code.vmovaps(Sum(i), s_zmm[0]);
        }

        code.mov(r15d, mask);
        code.vpbroadcastd(s_zmm[Mask], r15d);
    }

    private static void LeaveCodes(Assembler code, int rows)
    {
        for (int i = 0; i < rows * Outputs; i++)
        {
            code.vmovaps(s_zmm[i], Sum(i));
        }

        code.mov(rsp, Stack);
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

    private static void Clear(Assembler code, int register) => code.vpxord(s_zmm[register], s_zmm[register], s_zmm[register]);

    private static AssemblerMemoryOperand Field(string name, AssemblerMemoryOperandFactory size) =>
        size[Arguments + (int)Marshal.OffsetOf<TileArguments>(name)];

    private static AssemblerMemoryOperand Weight(int n, int offset, AssemblerMemoryOperandFactory size) => Weight(Weights, n, offset, size);

    private static AssemblerMemoryOperand Weight(AssemblerRegister64 first, int n, int offset, AssemblerMemoryOperandFactory size) => n switch
    {
        0 => size[first + offset],
        1 => size[first + WeightPitch + offset],
        2 => size[first + (WeightPitch * 2) + offset],
        _ => size[first + WeightPitch3 + offset],
    };

    private static AssemblerMemoryOperand Sum(int i) => __zmmword_ptr[Sums + (i * Line)];

    private static AssemblerMemoryOperand AtRow(AssemblerRegister64 first, int row, int offset) => row switch
    {
        0 => __zmmword_ptr[first + offset],
        1 => __zmmword_ptr[first + XPitch + offset],
        2 => __zmmword_ptr[first + (XPitch * 2) + offset],
        3 => __zmmword_ptr[first + XPitch3 + offset],
        4 => __zmmword_ptr[first + (XPitch * 4) + offset],
        _ => __zmmword_ptr[first + XPitch5 + offset],
    };
}

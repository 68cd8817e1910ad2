using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>
/// Writes the machine code of a tile: a few rows of activations times two or four rows of weights, by instructions for which .NET has no intrinsic:
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
/// An element has a second register then, for its sum over blocks; keeping those in memory instead took a fifth of the time.
/// </para>
/// </remarks>
internal sealed class TileEmitter
{
    private const int Line = Streams.Line;
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

    private readonly Assembler _code = new(64) { PreferVex = false };
    private readonly TileShape _shape;
    private readonly int _rowsAhead;

    private TileEmitter(TileShape shape, int rowsAhead) => (_shape, _rowsAhead) = (shape, rowsAhead);

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

    // With codes: a block's activations, and how many steps it has.
    private static AssemblerRegister64 Values => rbx;

    private static AssemblerRegister64 BlockSteps => r13;

    private int Products => _shape.Rows * _shape.Outputs;

    /// <summary>The code of a tile.</summary>
    /// <param name="shape">What it computes.</param>
    /// <param name="rowsAhead">Of so many rows of the weights that come next, each step asks for what the next tile's will read.</param>
    public static byte[] Emit(TileShape shape, int rowsAhead) => new TileEmitter(shape, rowsAhead).Assemble();

    private byte[] Assemble()
    {
        Enter();
        for (int i = 0; i < Products; i++)
        {
            Clear(Sum(i));
        }

        switch (_shape.Source)
        {
            case TileSource.BFloat16:
                Floats();
                break;
            case TileSource.Int8:
                Int8();
                break;
            default:
                Int4();
                break;
        }

        Finish();
        Leave();
        var stream = new MemoryStream();
        _code.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
    }

    private void Floats()
    {
        Label loop = _code.CreateLabel(), tail = _code.CreateLabel(), sums = _code.CreateLabel();
        _code.test(Steps, Steps);
        _code.jz(tail);
        _code.Label(ref loop);
        AskAhead(Line);
        Multiply(n => _code.vmovdqu16(Weight(n), WeightAt(n, 0, __zmmword_ptr)), row => _code.vmovdqu16(s_zmm[Last], ActivationAt(X, row, 0)), _code.vdpbf16ps);
        _code.add(Weights, Line);
        _code.add(X, Line);
        _code.dec(Steps);
        _code.jnz(loop);

        // What is left of a row that is no multiple of a register: the rest of the register reads as zeros, and nothing behind the row is touched.
        _code.Label(ref tail);
        _code.mov(r8d, Field(nameof(TileArguments.TailMask), __dword_ptr));
        _code.test(r8d, r8d);
        _code.jz(sums);
        _code.kmovd(k1, r8d);
        Multiply(n => _code.vmovdqu16(Weight(n).k1.z, WeightAt(n, 0, __zmmword_ptr)), row => _code.vmovdqu16(s_zmm[Last].k1.z, ActivationAt(X, row, 0)), _code.vdpbf16ps);
        _code.Label(ref sums);
    }

    // Signed bytes; the last block of a row may have fewer steps.
    private void Int8()
    {
        Label block = _code.CreateLabel(), step = _code.CreateLabel();
        LoadMask(SignBits);
        _code.Label(ref block);
        for (int row = 0; row < _shape.Rows; row++)
        {
            _code.vmovdqa32(Product(row, 0), ActivationAt(X, row, CodedRows.CorrectionsAt));
            for (int n = 1; n < _shape.Outputs; n++)
            {
                _code.vmovdqa32(Product(row, n), Product(row, 0));
            }
        }

        _code.lea(Values, __[X + CodedRows.ValuesAt]);
        _code.mov(BlockSteps, CodedRows.Block / CodeFormat.Int8Block);
        _code.cmp(Steps, BlockSteps);
        _code.cmovb(BlockSteps, Steps);
        _code.sub(Steps, BlockSteps);
        _code.Label(ref step);
        AskAhead(CodeFormat.Int8Block);
        for (int line = 0; line < CodeFormat.Int8Block; line += Line)
        {
            int at = line;
            MultiplyBytes(n => _code.vpxord(Weight(n), s_zmm[Mask], WeightAt(n, at, __zmmword_ptr)), at);
        }

        _code.add(Weights, CodeFormat.Int8Block);
        _code.add(Values, CodeFormat.Int8Block);
        _code.dec(BlockSteps);
        _code.jnz(step);
        AddBlock(hasScales: false);
        _code.test(Steps, Steps);
        _code.jnz(block);
    }

    // Four bits: 16 × code times activation, less zero point times the lane's sum of activations; then the lane's scale.
    private void Int4()
    {
        Label block = _code.CreateLabel();
        LoadMask(UpperHalves);
        _code.Label(ref block);
        AskAhead(CodeFormat.Int4BlockBytes);
        for (int i = 0; i < Products; i++)
        {
            Clear(s_zmm[i]);
        }

        _code.lea(Values, __[X + CodedRows.ValuesAt]);
        for (int line = 0; line < CodeFormat.Int4Block / 2; line += Line)
        {
            int at = CodeFormat.Int4Header + line;
            MultiplyBytes(LoadLower, 2 * line);
            MultiplyBytes(n => _code.vpandd(Weight(n), s_zmm[Mask], WeightAt(n, at, __zmmword_ptr)), (2 * line) + Line);

            void LoadLower(int n)
            {
                _code.vpslld(Weight(n), WeightAt(n, at, __zmmword_ptr), 4);
                _code.vpandd(Weight(n), Weight(n), s_zmm[Mask]);
            }
        }

        Multiply(
            n => _code.vpmovzxbd(Weight(n), WeightAt(n, CodeFormat.Groups, __xmmword_ptr)),
            row => _code.vmovdqa32(s_zmm[Last], ActivationAt(X, row, CodedRows.CorrectionsAt)), _code.vpdpwssd);
        for (int n = 0; n < _shape.Outputs; n++)
        {
            _code.vpmovzxbd(Weight(n), WeightAt(n, 0, __xmmword_ptr));
            _code.vcvtdq2ps(Weight(n), Weight(n));
            _code.vmulps(Weight(n), Weight(n), Weight(n));
        }

        AddBlock(hasScales: true);
        _code.add(Weights, CodeFormat.Int4BlockBytes);
        _code.dec(Steps);
        _code.jnz(block);
    }

    private void LoadMask(uint bits)
    {
        _code.mov(r13d, bits);
        _code.vpbroadcastd(s_zmm[Mask], r13d);
    }

    // Into the second level: asking for the first was far slower than not asking at all, as it has few places for lines on their way.
    private void AskAhead(int bytes)
    {
        for (int n = 0; n < _rowsAhead; n++)
        {
            for (int line = 0; line < bytes; line += Line)
            {
                _code.prefetcht2(AtWeight(Ahead, n, line, __byte_ptr));
            }
        }

        if (_rowsAhead > 0)
        {
            _code.add(Ahead, bytes);
        }
    }

    // A register of each row of weights and each row of activations.
    private void Multiply(Action<int> loadWeights, Action<int> loadActivations, Action<AssemblerRegisterZMM, AssemblerRegisterZMM, AssemblerRegisterZMM> multiply)
    {
        for (int n = 0; n < _shape.Outputs; n++)
        {
            loadWeights(n);
        }

        for (int row = 0; row < _shape.Rows; row++)
        {
            loadActivations(row);
            for (int n = 0; n < _shape.Outputs; n++)
            {
                multiply(Product(row, n), Weight(n), s_zmm[Last]);
            }
        }
    }

    private void MultiplyBytes(Action<int> loadWeights, int values) =>
        Multiply(loadWeights, row => _code.vmovdqa32(s_zmm[Last], ActivationAt(Values, row, values)), _code.vpdpbusd);

    // A block's products as floats, times the activations' scales and the weights' groups', to the blocks before.
    private void AddBlock(bool hasScales)
    {
        for (int row = 0; row < _shape.Rows; row++)
        {
            _code.vmovaps(s_zmm[Last], ActivationAt(X, row, 0));
            for (int n = 0; n < _shape.Outputs; n++)
            {
                AssemblerRegisterZMM product = Product(row, n);
                _code.vcvtdq2ps(product, product);
                if (hasScales)
                {
                    _code.vmulps(product, product, s_zmm[Last]);
                }

                _code.vfmadd231ps(Sum((row * _shape.Outputs) + n), product, hasScales ? Weight(n) : s_zmm[Last]);
            }
        }

        _code.add(X, CodedRows.BlockBytes);
    }

    // Four registers of sixteen sums become one of four: pairs of lanes first, then the four quarters. Four outputs of a row, or two of two rows.
    private void Finish()
    {
        _code.mov(rax, Field(nameof(TileArguments.Y), __qword_ptr));
        _code.mov(rcx, Field(nameof(TileArguments.YPitch), __qword_ptr));
        _code.mov(r8d, Field(nameof(TileArguments.Adds), __dword_ptr));
        int rowsAtOnce = TileShape.MostOutputs / _shape.Outputs;
        for (int first = 0; first < Products; first += TileShape.MostOutputs)
        {
            // Of a row that has no other beside it, the last sums are there twice.
            AssemblerRegisterZMM x = Sum(first), y = Sum(first + 1), z = Sum(Math.Min(first + 2, Products - 2)), w = Sum(Math.Min(first + 3, Products - 1));
            const int a = 28, b = 29, c = 30, d = 31;
            _code.vunpcklps(s_zmm[a], x, y);
            _code.vunpckhps(s_zmm[b], x, y);
            _code.vaddps(s_zmm[a], s_zmm[a], s_zmm[b]);
            _code.vunpcklps(s_zmm[c], z, w);
            _code.vunpckhps(s_zmm[d], z, w);
            _code.vaddps(s_zmm[c], s_zmm[c], s_zmm[d]);
            _code.vunpcklpd(s_zmm[b], s_zmm[a], s_zmm[c]);
            _code.vunpckhpd(s_zmm[d], s_zmm[a], s_zmm[c]);
            _code.vaddps(s_zmm[a], s_zmm[b], s_zmm[d]);
            _code.vextractf64x4(s_ymm[b], s_zmm[a], 1);
            _code.vaddps(s_ymm[a], s_ymm[a], s_ymm[b]);
            _code.vextractf32x4(s_xmm[b], s_ymm[a], 1);
            _code.vaddps(s_xmm[a], s_xmm[a], s_xmm[b]);
            for (int i = 0; i < rowsAtOnce && first + (i * _shape.Outputs) < Products; i++)
            {
                Store(i == 0 ? s_xmm[a] : s_xmm[b]);
                if (i == 0 && rowsAtOnce > 1)
                {
                    _code.vpermilpd(s_xmm[b], s_xmm[a], 1);
                }
            }
        }
    }

    // A row's outputs, to those of the K blocks before.
    private void Store(AssemblerRegisterXMM row)
    {
        Label replace = _code.CreateLabel();
        bool isWhole = _shape.Outputs == TileShape.MostOutputs;
        _code.test(r8d, r8d);
        _code.jz(replace);
        if (isWhole)
        {
            _code.vaddps(row, row, __xmmword_ptr[rax]);
        }
        else
        {
            _code.vmovsd(s_xmm[30], __qword_ptr[rax]);
            _code.vaddps(row, row, s_xmm[30]);
        }

        _code.Label(ref replace);
        if (isWhole)
        {
            _code.vmovups(__xmmword_ptr[rax], row);
        }
        else
        {
            _code.vmovsd(__qword_ptr[rax], row);
        }

        _code.add(rax, rcx);
    }

    private void Enter()
    {
        foreach (AssemblerRegister64 register in s_kept)
        {
            _code.push(register);
        }

        if (OperatingSystem.IsWindows())
        {
            _code.sub(rsp, s_keptVectors.Length * 16);
            for (int i = 0; i < s_keptVectors.Length; i++)
            {
                _code.vmovups(__xmmword_ptr[rsp + (i * 16)], s_keptVectors[i]);
            }

            _code.mov(Arguments, rcx);
        }

        _code.mov(Weights, Field(nameof(TileArguments.Weights), __qword_ptr));
        _code.mov(WeightPitch, Field(nameof(TileArguments.WeightPitch), __qword_ptr));
        _code.mov(X, Field(nameof(TileArguments.X), __qword_ptr));
        _code.mov(XPitch, Field(nameof(TileArguments.XPitch), __qword_ptr));
        _code.mov(Steps, Field(nameof(TileArguments.Steps), __qword_ptr));
        _code.mov(Ahead, Field(nameof(TileArguments.Ahead), __qword_ptr));
        _code.lea(WeightPitch3, __[WeightPitch + (WeightPitch * 2)]);
        _code.lea(XPitch3, __[XPitch + (XPitch * 2)]);
        _code.lea(XPitch5, __[XPitch + (XPitch * 4)]);
    }

    private void Leave()
    {
        if (OperatingSystem.IsWindows())
        {
            for (int i = 0; i < s_keptVectors.Length; i++)
            {
                _code.vmovups(s_keptVectors[i], __xmmword_ptr[rsp + (i * 16)]);
            }

            _code.add(rsp, s_keptVectors.Length * 16);
        }

        _code.vzeroupper();
        foreach (AssemblerRegister64 register in s_kept.Reverse())
        {
            _code.pop(register);
        }

        _code.ret();
    }

    private void Clear(AssemblerRegisterZMM register) => _code.vpxord(register, register, register);

    // An element's products: of a block, with codes.
    private AssemblerRegisterZMM Product(int row, int n) => s_zmm[(row * _shape.Outputs) + n];

    private AssemblerRegisterZMM Sum(int i) => s_zmm[_shape.Source == TileSource.BFloat16 ? i : Products + i];

    // The registers behind those of the largest tile.
    private AssemblerRegisterZMM Weight(int n) => s_zmm[(_shape.Source == TileSource.BFloat16 ? Products : 2 * Products) + n];

    private static AssemblerMemoryOperand Field(string name, AssemblerMemoryOperandFactory size) =>
        size[Arguments + (int)Marshal.OffsetOf<TileArguments>(name)];

    private static AssemblerMemoryOperand WeightAt(int n, int offset, AssemblerMemoryOperandFactory size) => AtWeight(Weights, n, offset, size);

    private static AssemblerMemoryOperand AtWeight(AssemblerRegister64 first, int n, int offset, AssemblerMemoryOperandFactory size) => n switch
    {
        0 => size[first + offset],
        1 => size[first + WeightPitch + offset],
        2 => size[first + (WeightPitch * 2) + offset],
        _ => size[first + WeightPitch3 + offset],
    };

    private static AssemblerMemoryOperand ActivationAt(AssemblerRegister64 first, int row, int offset) => row switch
    {
        0 => __zmmword_ptr[first + offset],
        1 => __zmmword_ptr[first + XPitch + offset],
        2 => __zmmword_ptr[first + (XPitch * 2) + offset],
        3 => __zmmword_ptr[first + XPitch3 + offset],
        4 => __zmmword_ptr[first + (XPitch * 4) + offset],
        5 => __zmmword_ptr[first + XPitch5 + offset],
        _ => __zmmword_ptr[first + (XPitch3 * 2) + offset],
    };
}

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
/// instruction takes unsigned weights: they are made so by adding 128.
/// An element has a second register then, for its sum over blocks; keeping those in memory instead took a fifth of the time.
/// </para>
/// </remarks>
internal sealed class TileEmitter : TileAssembler
{
    private const int Mask = 30;
    private const int Last = 31;
    private const uint SignBits = 0x80808080;

    private readonly TileShape _shape;
    private readonly int _rowsAhead;

    private TileEmitter(TileShape shape, int rowsAhead) => (_shape, _rowsAhead) = (shape, rowsAhead);

    // With codes: a block's activations, and how many steps it has.
    private static AssemblerRegister64 Values => rbx;

    private static AssemblerRegister64 BlockSteps => r13;

    private int Products => _shape.Rows * _shape.Outputs;

    // bf16 products are summed up where they are.
    private int FirstSum => _shape.Source == TileSource.BFloat16 ? 0 : Products;

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

        if (_shape.Source == TileSource.BFloat16)
        {
            Floats();
        }
        else
        {
            Int8();
        }

        Finish();
        Leave();
        return ToBytes();
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
        Broadcast(s_zmm[Mask], SignBits);
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
        AddBlock();
        _code.test(Steps, Steps);
        _code.jnz(block);
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

    // A block's products as floats, times the activations' scales, to the blocks before.
    private void AddBlock()
    {
        for (int row = 0; row < _shape.Rows; row++)
        {
            _code.vmovaps(s_zmm[Last], ActivationAt(X, row, 0));
            for (int n = 0; n < _shape.Outputs; n++)
            {
                _code.vcvtdq2ps(Product(row, n), Product(row, n));
                _code.vfmadd231ps(Sum((row * _shape.Outputs) + n), Product(row, n), s_zmm[Last]);
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

    // An element's products: of a block, with codes.
    private AssemblerRegisterZMM Product(int row, int n) => s_zmm[(row * _shape.Outputs) + n];

    private AssemblerRegisterZMM Sum(int i) => s_zmm[FirstSum + i];

    private AssemblerRegisterZMM Weight(int n) => s_zmm[FirstSum + Products + n];

    private static AssemblerMemoryOperand WeightAt(int n, int offset, AssemblerMemoryOperandFactory size) => AtWeight(Weights, n, offset, size);

    private static AssemblerMemoryOperand AtWeight(AssemblerRegister64 first, int n, int offset, AssemblerMemoryOperandFactory size) => n switch
    {
        0 => size[first + offset],
        1 => size[first + WeightPitch + offset],
        2 => size[first + (WeightPitch * 2) + offset],
        _ => size[first + WeightPitch3 + offset],
    };
}

using Iced.Intel;
using PrefixTorch.Kernels.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Writes the machine code of what <see cref="AmxByteEmitter"/> computes, for a single row, by vectors (<c>vpdpbusd</c>): a tile of a single column is brought to
/// memory and back number by number, which costs a sixth of the memory's speed.
/// </summary>
/// <remarks>
/// The same bits: a step is added up exactly, over the lanes of a register here, and then steps are in the same order. Weights are made unsigned by adding 128,
/// for which a register's sums begin with −128 times those of the activations.
/// </remarks>
internal sealed class ByteRowEmitter : TileAssembler
{
    private const int Values = 16;
    private const int Correction = 17;
    private const int FirstTemporary = 18;
    private const int Temporaries = 8;
    private const int Sum = 28;
    private const int SignBits = 30;
    private const int Most = AmxShape.MostRows;

    private readonly int _outputs;

    private ByteRowEmitter(int outputs) => _outputs = outputs;

    // Every fourth row of weights.
    private static AssemblerRegister64[] Rows => [Weights, r10, r11, r12];

    /// <summary>The code for so many outputs, of which sixteen sums come to <see cref="TileArguments.Y"/>; of its other arguments it is as <see cref="AmxByteEmitter"/> has them.</summary>
    public static byte[] Emit(int outputs) => new ByteRowEmitter(outputs).Assemble();

    private byte[] Assemble()
    {
        Label loop = _code.CreateLabel();
        Enter();
        for (int i = 1; i < Rows.Length; i++)
        {
            _code.lea(Rows[i], __[Rows[i - 1] + (WeightPitch * 4)]);
        }

        Broadcast(s_zmm[SignBits], 0x80808080);
        Clear(s_zmm[Sum]);
        _code.Label(ref loop);
        Clear(s_zmm[Correction]);
        Clear(s_zmm[Values]);
        _code.vpdpbusd(s_zmm[Correction], s_zmm[SignBits], __zmmword_ptr[X]);
        _code.vpsubd(s_zmm[Correction], s_zmm[Values], s_zmm[Correction]);
        for (int output = 0; output < Most; output++)
        {
            _code.vmovdqa32(s_zmm[output], s_zmm[Correction]);
        }

        Multiply();
        AddUp();
        _code.vcvtdq2ps(zmm0, zmm0);
        _code.vfmadd231ps(s_zmm[Sum], zmm0, __dword_bcst[X + AmxByteRows.Step]);
        _code.add(X, AmxByteRows.Step + sizeof(float));
        foreach (AssemblerRegister64 row in Rows)
        {
            _code.add(row, Line);
        }

        _code.dec(Steps);
        _code.jnz(loop);
        _code.mov(rax, Field(nameof(TileArguments.Y), __qword_ptr));
        _code.vmovups(__zmmword_ptr[rax], s_zmm[Sum]);
        Leave();
        return ToBytes();
    }

    private void Multiply()
    {
        _code.vmovdqu32(s_zmm[Values], __zmmword_ptr[X]);
        for (int output = 0; output < _outputs; output++)
        {
            AssemblerRegister64 first = Rows[output / 4];
            AssemblerRegisterZMM weights = s_zmm[FirstTemporary + (output % Temporaries)];
            _code.prefetcht0(RowAt(first, output % 4, Streams.AlongRows, __byte_ptr));
            _code.vpxord(weights, s_zmm[SignBits], RowAt(first, output % 4, 0, __zmmword_ptr));
            _code.vpdpbusd(s_zmm[output], weights, s_zmm[Values]);
        }
    }

    private static AssemblerMemoryOperand RowAt(AssemblerRegister64 first, int row, int at, AssemblerMemoryOperandFactory size) => row switch
    {
        0 => size[first + at],
        1 => size[first + WeightPitch + at],
        2 => size[first + (WeightPitch * 2) + at],
        _ => size[first + WeightPitch3 + at],
    };

    // Sixteen registers to one: of each the sum over its lanes. First pairs within quarters, then the quarters.
    private void AddUp()
    {
        for (int i = 0; i < 8; i++)
        {
            Halve(i, 2 * i, (2 * i) + 1, _code.vpunpckldq, _code.vpunpckhdq);
        }

        for (int i = 0; i < 4; i++)
        {
            Halve(i, 2 * i, (2 * i) + 1, _code.vpunpcklqdq, _code.vpunpckhqdq);
        }

        for (int count = 2; count > 0; count /= 2)
        {
            for (int i = 0; i < count; i++)
            {
                Halve(i, 2 * i, (2 * i) + 1, (to, a, b) => _code.vshufi32x4(to, a, b, 0b10_00_10_00), (to, a, b) => _code.vshufi32x4(to, a, b, 0b11_01_11_01));
            }
        }
    }

    private void Halve(
        int to, int first, int second, Action<AssemblerRegisterZMM, AssemblerRegisterZMM, AssemblerRegisterZMM> even, Action<AssemblerRegisterZMM, AssemblerRegisterZMM, AssemblerRegisterZMM> odd)
    {
        AssemblerRegisterZMM a = s_zmm[FirstTemporary + (2 * (to % (Temporaries / 2)))], b = s_zmm[FirstTemporary + (2 * (to % (Temporaries / 2))) + 1];
        even(a, s_zmm[first], s_zmm[second]);
        odd(b, s_zmm[first], s_zmm[second]);
        _code.vpaddd(s_zmm[to], a, b);
    }
}

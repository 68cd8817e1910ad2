using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>
/// Writes the machine code that makes one query's weights of its scores: their exponentials over the greatest one's, in bf16, for which .NET has no conversion; summed up in fp32 before they
/// are rounded.
/// </summary>
/// <remarks>
/// <c>eˣ = 2ⁿ 2ʳ</c> with n the whole number next to <c>x log₂ e</c>; 2ʳ is a polynomial of the fifth degree that is 1 at 0 and within 2 × 10⁻⁷ elsewhere. Below e⁻⁸⁷ it
/// is zero: where floats have lost digits a processor takes a hundred times as long.
/// </remarks>
internal sealed class SoftmaxEmitter : TileAssembler
{
    /// <summary>Scores of a step.</summary>
    public const int Step = Registers * PairTileEmitter.Lanes;

    private const int Registers = 4;

    private const int NotGreater = 0x0a;

    // Registers that hold the same number in every lane.
    private const int Greatest = 16;
    private const int Log = 17;
    private const int Shift = 18;
    private const int Furthest = 19;
    private const int FirstCoefficient = 20;
    private const int FirstSum = 26;

    // Fitted to 2ʳ for |r| ≤ ½, its relative error as small as it can be; from the fifth power down to the first and then 1.
    private static readonly float[] s_coefficients = [1.32647273e-3f, 9.67151299e-3f, 5.55073359e-2f, 0.240222424f, 0.693147004f, 1];

    private readonly bool _isScaled;

    private SoftmaxEmitter(bool isScaled) => _isScaled = isScaled;

    private static AssemblerRegister64 Partial => rbx;

    /// <summary>
    /// The code. Of its arguments <see cref="TileArguments.X"/> is the scores, −∞ those of a step that there are not, <see cref="TileArguments.Steps"/> how many times <see cref="Step"/> they are,
    /// <see cref="TileArguments.Weights"/> takes the weights and <see cref="TileArguments.Y"/> the greatest score and the sum. If <paramref name="isScaled"/>, weights
    /// meet the numbers at <see cref="TileArguments.XScales"/> after they are summed up.
    /// </summary>
    public static byte[] Emit(bool isScaled) => new SoftmaxEmitter(isScaled).Assemble();

    private byte[] Assemble()
    {
        Enter();
        _code.mov(Partial, Field(nameof(TileArguments.Y), __qword_ptr));
        FindGreatest();
        Load(Log, -MathF.Log2(MathF.E));
        Load(Shift, WholeNumbers.Shift);
        Load(Furthest, 87.3f);
        for (int i = 0; i < s_coefficients.Length; i++)
        {
            Load(FirstCoefficient + i, s_coefficients[i]);
        }

        Weigh();
        Leave();
        return ToBytes();
    }

    private void FindGreatest()
    {
        Label loop = _code.CreateLabel();
        _code.mov(r13, X);
        _code.mov(r14, Steps);
        ForRegisters(i => _code.vmovups(Sum(i), __zmmword_ptr[r13 + (i * Line)]));
        _code.Label(ref loop);
        ForRegisters(i => _code.vmaxps(Sum(i), Sum(i), __zmmword_ptr[r13 + (i * Line)]));
        _code.add(r13, Registers * Line);
        _code.dec(r14);
        _code.jnz(loop);
        Fold(_code.vmaxps, _code.vmaxps, _code.vmaxps);
        _code.vmovss(__dword_ptr[Partial], xmm0);
        _code.vbroadcastss(s_zmm[Greatest], xmm0);
    }

    private void Weigh()
    {
        Label loop = _code.CreateLabel();
        if (_isScaled)
        {
            _code.mov(r13, Field(nameof(TileArguments.XScales), __qword_ptr));
        }

        ForRegisters(i => Clear(Sum(i)));
        _code.Label(ref loop);
        ForRegisters(WeighOne);
        _code.add(X, Registers * Line);
        _code.add(Weights, Registers * Line / 2);
        if (_isScaled)
        {
            _code.add(r13, Registers * Line);
        }

        _code.dec(Steps);
        _code.jnz(loop);
        Fold(_code.vaddps, _code.vaddps, _code.vaddps);
        _code.vmovss(__dword_ptr[Partial + sizeof(float)], xmm0);
    }

    private void WeighOne(int i)
    {
        AssemblerRegisterZMM x = s_zmm[3 * i], n = s_zmm[(3 * i) + 1], weight = s_zmm[(3 * i) + 2];

        // How far below the greatest; what is not a number is not too far.
        _code.vsubps(x, s_zmm[Greatest], __zmmword_ptr[X + (i * Line)]);
        _code.vcmpps(k1, x, s_zmm[Furthest], NotGreater);
        _code.vmovaps(n, s_zmm[Shift]);
        _code.vfmadd231ps(n, x, s_zmm[Log]);
        _code.vsubps(n, n, s_zmm[Shift]);
        _code.vfmsub132ps(x, n, s_zmm[Log]);
        _code.vmovaps(weight, s_zmm[FirstCoefficient]);
        for (int power = 1; power < s_coefficients.Length; power++)
        {
            _code.vfmadd213ps(weight, x, s_zmm[FirstCoefficient + power]);
        }

        _code.vscalefps(weight.k1.z, weight, n);
        _code.vaddps(Sum(i), Sum(i), weight);
        if (_isScaled)
        {
            _code.vmulps(weight, weight, __zmmword_ptr[r13 + (i * Line)]);
        }

        _code.vcvtneps2bf16(s_ymm[3 * i], weight);
        _code.vmovups(__ymmword_ptr[Weights + (i * Line / 2)], s_ymm[3 * i]);
    }

    // The four registers, and then the lanes of one, to the first lane of the first register.
    private void Fold(
        Action<AssemblerRegisterZMM, AssemblerRegisterZMM, AssemblerRegisterZMM> whole,
        Action<AssemblerRegisterYMM, AssemblerRegisterYMM, AssemblerRegisterYMM> half,
        Action<AssemblerRegisterXMM, AssemblerRegisterXMM, AssemblerRegisterXMM> quarter)
    {
        whole(zmm0, Sum(0), Sum(1));
        whole(zmm1, Sum(2), Sum(3));
        whole(zmm0, zmm0, zmm1);
        _code.vextractf64x4(ymm1, zmm0, 1);
        half(ymm0, ymm0, ymm1);
        _code.vextractf32x4(xmm1, ymm0, 1);
        quarter(xmm0, xmm0, xmm1);
        _code.vshufps(xmm1, xmm0, xmm0, 0b01_00_11_10);
        quarter(xmm0, xmm0, xmm1);
        _code.vshufps(xmm1, xmm0, xmm0, 0b10_11_00_01);
        quarter(xmm0, xmm0, xmm1);
    }

    private void Load(int register, float value) => Broadcast(s_zmm[register], BitConverter.SingleToUInt32Bits(value));

    private static void ForRegisters(Action<int> emit)
    {
        for (int i = 0; i < Registers; i++)
        {
            emit(i);
        }
    }

    private static AssemblerRegisterZMM Sum(int i) => s_zmm[FirstSum + i];
}

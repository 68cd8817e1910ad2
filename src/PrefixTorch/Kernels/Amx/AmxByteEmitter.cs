using Iced.Intel;
using PrefixTorch.Kernels.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Writes the machine code of products of int8 by tiles (AMX): sixteen outputs, as they are stored, times two to sixteen rows. <c>tdpbssd</c> multiplies the 64
/// bytes of a step, exactly; then each row meets the step's scale, and steps are added up in fp32.
/// </summary>
/// <remarks>
/// An element is a chain in the order of k, whatever is computed with it. While a step is weighed others are multiplied, as a tile takes a while to come through
/// memory: four of them are under way.
/// </remarks>
internal sealed class AmxByteEmitter : TileAssembler
{
    /// <summary>Memory that the code needs: the tiles that are under way.</summary>
    public const int WorkspaceBytes = UnderWay * AmxShape.TileBytes;

    private const int UnderWay = 4;
    private const int FirstTemporary = 16;
    private const int Temporaries = 8;
    private const int Scale = 30;

    private static readonly AssemblerRegisterTMM[] s_products = [tmm0, tmm1, tmm2, tmm3];

    private static AssemblerRegister64 ScalesAt => r9;

    private static AssemblerRegister64 StepBytes => r10;

    private static AssemblerRegister64 Weighed => r11;

    private static AssemblerRegister64 Workspace => r12;

    private static AssemblerRegister64 ToMultiply => r13;

    private static AssemblerRegister64 ProductPitch => rbx;

    /// <summary>
    /// The code. Of its arguments <see cref="TileArguments.X"/> is a tile of <see cref="AmxByteRows"/> and <see cref="TileArguments.XPitch"/> its pitch; the sums, <c>[16, 16]</c> with
    /// outputs as rows, replace what is in <see cref="TileArguments.Y"/>.
    /// </summary>
    public static byte[] Emit() => new AmxByteEmitter().Assemble();

    private byte[] Assemble()
    {
        Label begun = _code.CreateLabel(), loop = _code.CreateLabel(), done = _code.CreateLabel();
        Enter();
        _code.mov(Workspace, Field(nameof(TileArguments.Workspace), __qword_ptr));
        _code.mov(ProductPitch, AmxShape.RowBytes);
        _code.mov(ScalesAt, XPitch);
        _code.shl(ScalesAt, 4);
        _code.lea(StepBytes, __[ScalesAt + XPitch]);
        _code.mov(Weighed, X);
        _code.mov(ToMultiply, Steps);
        for (int i = 0; i < UnderWay; i++)
        {
            Multiply(i);
            _code.jz(begun);
        }

        _code.Label(ref begun);
        for (int i = 0; i < AmxShape.MostRows; i++)
        {
            Clear(s_zmm[i]);
        }

        _code.Label(ref loop);
        for (int i = 0; i < UnderWay; i++)
        {
            Label none = _code.CreateLabel();
            Weigh(i);
            _code.test(ToMultiply, ToMultiply);
            _code.jz(none);
            Multiply(i);
            _code.Label(ref none);
            _code.dec(Steps);
            _code.jz(done);
        }

        _code.jmp(loop);
        _code.Label(ref done);
        _code.mov(rax, Field(nameof(TileArguments.Y), __qword_ptr));
        for (int i = 0; i < AmxShape.MostRows; i++)
        {
            _code.vmovups(__zmmword_ptr[rax + (i * AmxShape.RowBytes)], s_zmm[i]);
        }

        Leave();
        return ToBytes();
    }

    private void Multiply(int i)
    {
        _code.tilezero(s_products[i]);
        _code.tileloadd(tmm4, __[Weights + WeightPitch]);
        _code.tileloadd(tmm6, __[X + XPitch]);
        _code.tdpbssd(s_products[i], tmm4, tmm6);
        _code.tilestored(__[Workspace + ProductPitch + (i * AmxShape.TileBytes)], s_products[i]);
        _code.add(Weights, AmxShape.RowBytes);
        _code.add(X, StepBytes);
        _code.dec(ToMultiply);
    }

    private void Weigh(int i)
    {
        _code.vmovups(s_zmm[Scale], __zmmword_ptr[Weighed + ScalesAt]);
        for (int output = 0; output < AmxShape.MostRows; output++)
        {
            AssemblerRegisterZMM number = s_zmm[FirstTemporary + (output % Temporaries)];
            _code.vcvtdq2ps(number, __zmmword_ptr[Workspace + (i * AmxShape.TileBytes) + (output * AmxShape.RowBytes)]);
            _code.vfmadd231ps(s_zmm[output], number, s_zmm[Scale]);
        }

        _code.add(Weighed, StepBytes);
    }
}

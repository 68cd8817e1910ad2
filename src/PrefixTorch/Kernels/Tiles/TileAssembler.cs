using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>What the codes of all tiles have in common: registers, entry and exit for either calling convention, and where rows of activations are.</summary>
internal abstract class TileAssembler
{
    /// <summary>Bytes of a cache line, and of a register.</summary>
    protected const int Line = Streams.Line;

    protected static readonly AssemblerRegisterZMM[] s_zmm =
    [
        zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
        zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31,
    ];

    protected static readonly AssemblerRegisterYMM[] s_ymm =
    [
        ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14, ymm15,
        ymm16, ymm17, ymm18, ymm19, ymm20, ymm21, ymm22, ymm23, ymm24, ymm25, ymm26, ymm27, ymm28, ymm29, ymm30, ymm31,
    ];

    protected static readonly AssemblerRegisterXMM[] s_xmm =
    [
        xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15,
        xmm16, xmm17, xmm18, xmm19, xmm20, xmm21, xmm22, xmm23, xmm24, xmm25, xmm26, xmm27, xmm28, xmm29, xmm30, xmm31,
    ];

    // Registers that either calling convention, System V's or Windows', wants back as they were.
    private static readonly AssemblerRegister64[] s_kept = [rbx, rsi, rdi, r12, r13, r14];

    private static readonly AssemblerRegisterXMM[] s_keptVectors = [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    protected readonly Assembler _code = new(64) { PreferVex = false };

    // Where things are: weights and three times their pitch, activations and three and five times theirs.
    protected static AssemblerRegister64 Arguments => rdi;

    protected static AssemblerRegister64 Weights => rax;

    protected static AssemblerRegister64 WeightPitch => rcx;

    protected static AssemblerRegister64 WeightPitch3 => r9;

    protected static AssemblerRegister64 X => rdx;

    protected static AssemblerRegister64 XPitch => rsi;

    protected static AssemblerRegister64 XPitch3 => r10;

    protected static AssemblerRegister64 XPitch5 => r11;

    protected static AssemblerRegister64 Steps => r8;

    protected static AssemblerRegister64 Ahead => r12;

    /// <summary>What has been written.</summary>
    protected byte[] ToBytes() => ToBytes(_code);

    /// <summary>What has been written.</summary>
    protected static byte[] ToBytes(Assembler code)
    {
        var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
    }

    protected void Enter()
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

    protected void Leave()
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

    /// <summary>The same number in every lane; r13 is lost.</summary>
    protected void Broadcast(AssemblerRegisterZMM register, uint bits)
    {
        _code.mov(r13d, bits);
        _code.vpbroadcastd(register, r13d);
    }

    protected void Clear(AssemblerRegisterZMM register) => _code.vpxord(register, register, register);

    protected static AssemblerMemoryOperand Field(string name, AssemblerMemoryOperandFactory size) =>
        size[Arguments + (int)Marshal.OffsetOf<TileArguments>(name)];

    protected static AssemblerMemoryOperand ActivationAt(AssemblerRegister64 first, int row, int offset, AssemblerMemoryOperandFactory? size = null) => row switch
    {
        0 => (size ?? __zmmword_ptr)[first + offset],
        1 => (size ?? __zmmword_ptr)[first + XPitch + offset],
        2 => (size ?? __zmmword_ptr)[first + (XPitch * 2) + offset],
        3 => (size ?? __zmmword_ptr)[first + XPitch3 + offset],
        4 => (size ?? __zmmword_ptr)[first + (XPitch * 4) + offset],
        5 => (size ?? __zmmword_ptr)[first + XPitch5 + offset],
        _ => (size ?? __zmmword_ptr)[first + (XPitch3 * 2) + offset],
    };
}

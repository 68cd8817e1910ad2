using Iced.Intel;
using PrefixTorch.Kernels.Tiles;

namespace PrefixTorch.Kernels.Panels;

/// <summary>What the codes of products with panels have in common: how a group's codes, scales and zero points come out of a panel.</summary>
internal abstract class PanelAssembler : TileAssembler
{
    /// <summary>A group's unpacked codes, or scales.</summary>
    protected const int Weight = 28;

    /// <summary>A line of codes, or a group's zero points.</summary>
    protected const int Codes = 29;

    /// <summary>What sums of products begin with: see <see cref="WholeNumbers.Shift"/>.</summary>
    protected const int Shift = 31;

    private const int Mask = 30;

    /// <summary>Fills the registers that stay as they are.</summary>
    protected void LoadConstants()
    {
        Broadcast(s_zmm[Mask], 0xf0f0f0f0);
        Broadcast(s_zmm[Shift], BitConverter.SingleToUInt32Bits(WholeNumbers.Shift));
    }

    /// <summary>Unpacks a group's codes, the lines of which are where <paramref name="at"/> says, to <see cref="Weight"/>, as bytes of 16 times a code; each word of them meets the activations' word of that number.</summary>
    protected void ForWords(Func<int, AssemblerMemoryOperand> at, Action<int> multiply)
    {
        for (int line = 0; line < CodeFormat.GroupCodes / Line; line++)
        {
            _code.vmovdqu32(s_zmm[Codes], at(line * Line));
            _code.vpslld(s_zmm[Weight], s_zmm[Codes], 4);
            _code.vpandd(s_zmm[Weight], s_zmm[Weight], s_zmm[Mask]);
            multiply(2 * line);
            _code.vpandd(s_zmm[Weight], s_zmm[Codes], s_zmm[Mask]);
            multiply((2 * line) + 1);
        }
    }

    /// <summary>A group's scales to <see cref="Weight"/>, from a header at <paramref name="header"/>, and its zero points to <see cref="Codes"/>.</summary>
    protected void LoadHeader(Func<int, AssemblerMemoryOperand> at, int header)
    {
        LoadBytes(s_zmm[Codes], at(header + CodeFormat.Panel));
        LoadBytes(s_zmm[Weight], at(header));
        _code.vmulps(s_zmm[Weight], s_zmm[Weight], s_zmm[Weight]);
    }

    private void LoadBytes(AssemblerRegisterZMM register, AssemblerMemoryOperand at)
    {
        _code.vpmovzxbd(register, at);
        _code.vcvtdq2ps(register, register);
    }
}

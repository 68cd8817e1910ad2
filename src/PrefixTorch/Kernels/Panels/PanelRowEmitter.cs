using Iced.Intel;
using PrefixTorch.Kernels.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Panels;

/// <summary>
/// Writes the machine code of what <see cref="PanelEmitter"/> computes, for a single row and some panels side by side: decoding, which memory bounds. Of several streams the processor's own
/// prefetching brings more lines at a time than of one, and what is broadcast of the row serves them all.
/// </summary>
/// <remarks>The same bits: products of a group are whole numbers, here in two chains, as one waits for the one before; and groups are added up in order.</remarks>
internal sealed class PanelRowEmitter : PanelAssembler
{
    private const int Words = CodeFormat.Group / sizeof(int);
    private const int Block = CodeFormat.Int4BlockBytes;

    // Two chains for each panel, then their sums; a group's words of the row, and its scale, correction and offset, in every lane.
    private const int Chains = 0;
    private const int Sums = 2 * PanelShape.PanelsAtOnce;
    private const int Values = 16;
    private const int Scale = Values + Words;
    private const int Correction = Scale + 1;
    private const int Offset = Correction + 1;

    private readonly int _panels;

    private PanelRowEmitter(int panels) => _panels = panels;

    private static AssemblerRegister64 Scales => r10;

    private static AssemblerRegister64 NextPanels => r11;

    private static AssemblerRegister64 Y => rbx;

    /// <summary>
    /// The code for so many panels, <see cref="TileArguments.WeightPitch"/> apart; of its other arguments it is as <see cref="PanelEmitter"/> has them, and what comes to
    /// <see cref="TileArguments.Y"/>, sixteen sums for each panel, replaces what is there.
    /// </summary>
    public static byte[] Emit(int panels) => new PanelRowEmitter(panels).Assemble();

    private byte[] Assemble()
    {
        Label loop = _code.CreateLabel(), isLong = _code.CreateLabel(), within = _code.CreateLabel();
        Enter();
        _code.mov(Scales, Field(nameof(TileArguments.XScales), __qword_ptr));
        _code.mov(Y, Field(nameof(TileArguments.Y), __qword_ptr));
        LoadConstants();
        ForPanels(panel => Clear(s_zmm[Sums + panel]));

        // Beyond the end of these panels the next ones begin, so far from there.
        _code.imul(NextPanels, WeightPitch, _panels - 1);
        _code.lea(Ahead, __[Weights + PanelShape.BytesAhead]);
        _code.cmp(Steps, PanelShape.BlocksAhead);
        _code.jge(isLong);
        _code.add(Ahead, NextPanels);
        _code.Label(ref isLong);
        _code.nop();
        _code.Label(ref loop);
        _code.cmp(Steps, PanelShape.BlocksAhead);
        _code.jne(within);
        _code.add(Ahead, NextPanels);
        _code.Label(ref within);
        ForPanels(panel =>
        {
            for (int line = 0; line < Block; line += Line)
            {
                _code.prefetcht1(At(__byte_ptr, Ahead, panel, line));
            }
        });
        for (int group = 0; group < 2; group++)
        {
            LoadRow();
            ForPanels(panel =>
            {
                Multiply(panel, CodeFormat.Int4Header + (group * CodeFormat.GroupCodes));
                Weigh(panel, group * CodeFormat.GroupHeader);
            });
            _code.add(X, XPitch);
            _code.add(Scales, XPitch);
        }

        _code.add(Weights, Block);
        _code.add(Ahead, Block);
        _code.dec(Steps);
        _code.jnz(loop);
        ForPanels(panel => _code.vmovups(__zmmword_ptr[Y + (panel * Line)], s_zmm[Sums + panel]));
        Leave();
        return ToBytes();
    }

    private void LoadRow()
    {
        for (int word = 0; word < Words; word++)
        {
            _code.vpbroadcastd(s_zmm[Values + word], __dword_ptr[X + (word * sizeof(int))]);
        }

        for (int i = 0; i < 3; i++)
        {
            _code.vbroadcastss(s_zmm[Scale + i], __dword_ptr[Scales + (i * sizeof(float))]);
        }
    }

    private void Multiply(int panel, int codes)
    {
        AssemblerRegisterZMM even = s_zmm[Chains + (2 * panel)], odd = s_zmm[Chains + (2 * panel) + 1];
        _code.vmovdqa32(even, s_zmm[Shift]);
        Clear(odd);
        ForWords(at => At(__zmmword_ptr, Weights, panel, codes + at), word => _code.vpdpbusd(word % 2 == 0 ? even : odd, s_zmm[Weight], s_zmm[Values + word]));
        _code.vpaddd(even, even, odd);
    }

    private void Weigh(int panel, int header)
    {
        AssemblerRegisterZMM product = s_zmm[Chains + (2 * panel)];
        LoadHeader(at => At(__xmmword_ptr, Weights, panel, at), header);
        _code.vfmadd231ps(product, s_zmm[Codes], s_zmm[Correction]);
        _code.vfmadd213ps(product, s_zmm[Scale], s_zmm[Offset]);
        _code.vfmadd231ps(s_zmm[Sums + panel], product, s_zmm[Weight]);
    }

    private void ForPanels(Action<int> emit)
    {
        for (int panel = 0; panel < _panels; panel++)
        {
            emit(panel);
        }
    }

    // So many bytes from the same place of a panel.
    private static AssemblerMemoryOperand At(AssemblerMemoryOperandFactory size, AssemblerRegister64 first, int panel, int bytes) => panel switch
    {
        0 => size[first + bytes],
        1 => size[first + WeightPitch + bytes],
        2 => size[first + (WeightPitch * 2) + bytes],
        _ => size[first + WeightPitch3 + bytes],
    };
}

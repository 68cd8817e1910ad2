using Iced.Intel;
using PrefixTorch.Kernels.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Panels;

/// <summary>
/// Writes the machine code of products of some rows and a panel of int4 by <c>vpdpbusd</c> (AVX-512 VNNI), for which .NET has no intrinsic at this width: four products of bytes for each of sixteen outputs.
/// </summary>
/// <remarks>
/// A group's products are added up in integers, exactly, then meet zero points and scales; groups are added up in fp32, in order. So an element is one chain, whatever is computed with it. The
/// instruction takes unsigned weights, which are the upper four bits of a byte: 16 times a code.
/// </remarks>
internal sealed class PanelEmitter : PanelAssembler
{
    /// <summary>Rows at most: a tile of them.</summary>
    public const int MostRows = GroupRows.MostWidth;

    // Products come first and sums after them, as far as registers go; the others stay in memory, where they go in the end.
    private const int Offset = 27;

    private readonly int _rows;

    private PanelEmitter(int rows) => _rows = rows;

    private static AssemblerRegister64 Scales => r9;

    private static AssemblerRegister64 ScaleBytes => r10;

    private static AssemblerRegister64 Y => rbx;

    private static AssemblerRegister64 YPitch => r11;

    private static AssemblerRegister64 YPitch3 => r12;

    private static AssemblerRegister64 FirstInMemory => r14;

    private int InRegisters => Math.Min(_rows, Offset - _rows);

    /// <summary>
    /// The code for so many rows. <see cref="TileArguments.Weights"/> is a panel's block, <see cref="TileArguments.Steps"/> so many of them; <see cref="TileArguments.X"/> the first row's values
    /// of its first group, <see cref="TileArguments.XScales"/> that row's scale, and <see cref="TileArguments.XPitch"/> leads to the next group.
    /// </summary>
    public static byte[] Emit(int rows) => new PanelEmitter(rows).Assemble();

    private byte[] Assemble()
    {
        Label loop = _code.CreateLabel();
        Enter();
        _code.mov(Scales, Field(nameof(TileArguments.XScales), __qword_ptr));
        _code.mov(ScaleBytes, Field(nameof(TileArguments.XScaleBytes), __qword_ptr));
        LoadConstants();
        LoadSums();
        _code.Label(ref loop);
        for (int line = 0; line < CodeFormat.Int4BlockBytes; line += Line)
        {
            _code.prefetcht1(__byte_ptr[Weights + PanelShape.BytesAhead + line]);
        }

        for (int group = 0; group < 2; group++)
        {
            Multiply(CodeFormat.Int4Header + (group * CodeFormat.GroupCodes));
            Weigh(group * CodeFormat.GroupHeader);
            _code.add(X, XPitch);
            _code.add(Scales, XPitch);
        }

        _code.add(Weights, CodeFormat.Int4BlockBytes);
        _code.dec(Steps);
        _code.jnz(loop);
        StoreSums();
        Leave();
        return ToBytes();
    }

    private void Multiply(int codes)
    {
        for (int row = 0; row < _rows; row++)
        {
            _code.vmovdqa32(s_zmm[row], s_zmm[Shift]);
        }

        ForWords(at => __zmmword_ptr[Weights + codes + at], MultiplyBy);
    }

    private void MultiplyBy(int word)
    {
        for (int row = 0; row < _rows; row++)
        {
            _code.vpdpbusd(s_zmm[row], s_zmm[Weight], __dword_bcst[X + (row * CodeFormat.Group) + (word * sizeof(int))]);
        }
    }

    // 16 times code times activation, less zero point times the sum of activations, which floats hold exactly; then both scales. Sums began as the bits of a float,
    // and are floats so far from it as they are: what it is too much is taken off with the first scale, exactly too.
    private void Weigh(int header)
    {
        LoadHeader(at => __xmmword_ptr[Weights + at], header);
        for (int row = 0; row < _rows; row++)
        {
            AssemblerRegisterZMM product = s_zmm[row];
            _code.vfmadd231ps(product, s_zmm[Codes], __dword_bcst[Scales + ScaleBytes + (row * sizeof(float))]);
            _code.vbroadcastss(s_zmm[Offset], __dword_ptr[Scales + (ScaleBytes * 2) + (row * sizeof(float))]);
            _code.vfmadd132ps(product, s_zmm[Offset], __dword_bcst[Scales + (row * sizeof(float))]);
            if (row < InRegisters)
            {
                _code.vfmadd231ps(Sum(row), product, s_zmm[Weight]);
            }
            else
            {
                _code.vfmadd213ps(product, s_zmm[Weight], SumInMemory(row));
                _code.vmovups(SumInMemory(row), product);
            }
        }
    }

    private void LoadSums()
    {
        Label zero = _code.CreateLabel(), done = _code.CreateLabel();
        _code.mov(Y, Field(nameof(TileArguments.Y), __qword_ptr));
        _code.mov(YPitch, Field(nameof(TileArguments.YPitch), __qword_ptr));
        _code.mov(FirstInMemory, YPitch);
        _code.imul(FirstInMemory, FirstInMemory, InRegisters);
        _code.add(FirstInMemory, Y);
        _code.lea(YPitch3, __[YPitch + (YPitch * 2)]);
        _code.cmp(Field(nameof(TileArguments.Adds), __dword_ptr), 0);
        _code.je(zero);
        ForRegisters(row => _code.vmovups(Sum(row), __zmmword_ptr[r13]));
        _code.jmp(done);
        _code.Label(ref zero);
        for (int row = 0; row < InRegisters; row++)
        {
            Clear(Sum(row));
        }

        for (int row = InRegisters; row < _rows; row++)
        {
            _code.vmovups(SumInMemory(row), Sum(0));
        }

        _code.Label(ref done);
        _code.nop();
    }

    private void StoreSums() => ForRegisters(row => _code.vmovups(__zmmword_ptr[r13], Sum(row)));

    // Row by row of those in registers, r13 where it lies.
    private void ForRegisters(Action<int> emit)
    {
        _code.mov(r13, Y);
        for (int row = 0; row < InRegisters; row++)
        {
            emit(row);
            _code.add(r13, YPitch);
        }
    }

    private AssemblerRegisterZMM Sum(int row) => s_zmm[_rows + row];

    private AssemblerMemoryOperand SumInMemory(int row) => (row - InRegisters) switch
    {
        0 => __zmmword_ptr[FirstInMemory],
        1 => __zmmword_ptr[FirstInMemory + YPitch],
        2 => __zmmword_ptr[FirstInMemory + (YPitch * 2)],
        3 => __zmmword_ptr[FirstInMemory + YPitch3],
        _ => __zmmword_ptr[FirstInMemory + (YPitch * 4)],
    };
}

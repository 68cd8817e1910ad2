using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Tiles;

/// <summary>
/// Writes the machine code of a tile whose registers run along the columns of the result: one to six rows of bf16 pairs, each broadcast, times a panel of
/// pairs of up to 64 columns, summed in fp32 by <c>vdpbf16ps</c> (AVX-512 BF16). Attention's scores and its weighted values are such products.
/// </summary>
/// <remarks>Nothing is added up across a register, and an element's bits depend on its row and its column alone.</remarks>
internal sealed class PairTileEmitter : TileAssembler
{
    /// <summary>Rows of a tile at most.</summary>
    public const int MostRows = 6;

    /// <summary>Registers of columns of a tile at most: with six rows 24 sums, four of the panel and a pair.</summary>
    public const int MostRegisters = 4;

    /// <summary>Columns of a register.</summary>
    public const int Lanes = 16;

    private const int Panel = MostRows * MostRegisters;
    private const int Pair = 31;

    private readonly int _rows;
    private readonly int _registers;

    private PairTileEmitter(int rows, int registers) => (_rows, _registers) = (rows, registers);

    /// <summary>
    /// The code for so many rows and registers of columns. Of its arguments <see cref="TileArguments.Weights"/> is the panel, <c>[steps, columns]</c> pairs,
    /// and a step is a pair.
    /// </summary>
    public static byte[] Emit(int rows, int registers) => new PairTileEmitter(rows, registers).Assemble();

    private byte[] Assemble()
    {
        Enter();
        for (int row = 0; row < _rows; row++)
        {
            ForRegisters(register => Clear(Sum(row, register)));
        }

        Label loop = _code.CreateLabel();
        _code.Label(ref loop);
        ForRegisters(register => _code.vmovups(s_zmm[Panel + register], __zmmword_ptr[Weights + (register * Line)]));
        for (int row = 0; row < _rows; row++)
        {
            _code.vpbroadcastd(s_zmm[Pair], ActivationAt(X, row, 0, __dword_ptr));
            ForRegisters(register => _code.vdpbf16ps(Sum(row, register), s_zmm[Panel + register], s_zmm[Pair]));
        }

        _code.add(Weights, WeightPitch);
        _code.add(X, 2 * sizeof(ushort));
        _code.dec(Steps);
        _code.jnz(loop);

        // To what stands there, or in its place.
        _code.mov(rax, Field(nameof(TileArguments.Y), __qword_ptr));
        _code.mov(rcx, Field(nameof(TileArguments.YPitch), __qword_ptr));
        _code.mov(r8d, Field(nameof(TileArguments.Adds), __dword_ptr));
        for (int row = 0; row < _rows; row++)
        {
            Label replace = _code.CreateLabel();
            _code.test(r8d, r8d);
            _code.jz(replace);
            ForRegisters(register => _code.vaddps(Sum(row, register), Sum(row, register), __zmmword_ptr[rax + (register * Line)]));
            _code.Label(ref replace);
            ForRegisters(register => _code.vmovups(__zmmword_ptr[rax + (register * Line)], Sum(row, register)));
            _code.add(rax, rcx);
        }

        Leave();
        return ToBytes();
    }

    private void ForRegisters(Action<int> emit)
    {
        for (int register = 0; register < _registers; register++)
        {
            emit(register);
        }
    }

    private AssemblerRegisterZMM Sum(int row, int register) => s_zmm[(row * _registers) + register];
}

using Iced.Intel;
using PrefixTorch.Kernels.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Writes the machine code of products of bf16 tiles, <c>tdpbf16ps</c> (AMX): sixteen rows of 32 numbers times 32 by sixteen, added to sixteen by sixteen fp32 sums,
/// in sixteen cycles. Of the second factor two neighbours in k stand side by side.
/// </summary>
/// <remarks>
/// An element of the result is a chain of steps of 32 products in the order of k, whatever rows and columns are computed with it: the same bits always.
/// The caller has set the tiles' shapes.
/// </remarks>
internal sealed class AmxTileEmitter : TileAssembler
{
    /// <summary>The tiles of sums; then of the first factor and the second.</summary>
    /// <remarks>
    /// As few as can be: where another thread of the core multiplies tiles too, each that is in use slows all (two sums that share a tile of the second factor: 23 ns a product
    /// with one tile for the first factor, 35 with two; with the core for itself, 7.5 either way).
    /// </remarks>
    public const int Sums = 0, First = 4, Second = 6;

    /// <summary>Columns of k of a step.</summary>
    public const int Step = 32;

    private static readonly AssemblerRegisterTMM[] s_tmm = [tmm0, tmm1, tmm2, tmm3, tmm4, tmm5, tmm6, tmm7];

    private readonly int _rows;
    private readonly int _columns;

    private AmxTileEmitter(int rows, int columns) => (_rows, _columns) = (rows, columns);

    // The second tiles of either factor; where the sums are; from row to row of those and of the second factor, and sixteen times it.
    private static AssemblerRegister64 Weights2 => r9;

    private static AssemblerRegister64 X2 => r10;

    private static AssemblerRegister64 Pitch => r11;

    private static AssemblerRegister64 Y => rbx;

    private static AssemblerRegister64 XStep => r12;

    /// <summary>
    /// A product of one or two tiles of rows, weights as they are stored, by one or two tiles of columns, activations as <see cref="AmxRows"/> lays them. Of its
    /// arguments <see cref="TileArguments.XPitch"/> leads from one tile of columns to the next and <see cref="TileArguments.YPitch"/> from row to row of
    /// both the activations and the sums, whose tiles stand one after another. <see cref="AmxPanelProduct"/> has the roles of the factors the other way round: activations are its rows, and its
    /// columns weights.
    /// </summary>
    public static byte[] EmitProduct(int rows, int columns) => new AmxTileEmitter(rows, columns).Product();

    /// <summary>
    /// A product of up to sixteen rows of pairs by a panel of pairs of one to four times sixteen columns, as <see cref="PairTileEmitter"/> has it; a step
    /// is 32 of k.
    /// </summary>
    public static byte[] EmitPairs(int registers) => new AmxTileEmitter(1, registers).Pairs();

    /// <summary>Takes the tiles' shapes from the first argument.</summary>
    public static byte[] EmitConfigure()
    {
        var code = new Assembler(64);
        code.ldtilecfg(__[OperatingSystem.IsWindows() ? rcx : rdi]);
        code.ret();
        return ToBytes(code);
    }

    /// <summary>Lets go of the tiles, so that the system need not save them.</summary>
    public static byte[] EmitRelease()
    {
        var code = new Assembler(64);
        code.tilerelease();
        code.ret();
        return ToBytes(code);
    }

    private byte[] Product()
    {
        Label loop = _code.CreateLabel();
        Enter();
        LoadPitches();
        if (_rows > 1)
        {
            _code.mov(Weights2, WeightPitch);
            _code.shl(Weights2, 4);
            _code.add(Weights2, Weights);
        }

        if (_columns > 1)
        {
            _code.lea(X2, __[X + XPitch]);
        }

        LoadSums((i, j) => __[Y + Pitch + (((i * _columns) + j) * AmxShape.TileBytes)]);
        _code.mov(rsi, Pitch);
        _code.mov(XStep, Pitch);
        _code.shl(XStep, 4);
        if (AsksAhead)
        {
            for (int i = 1; i < Quarters.Length; i++)
            {
                _code.lea(Quarters[i], __[Quarters[i - 1] + (WeightPitch * 4)]);
            }
        }

        _code.Label(ref loop);
        if (AsksAhead)
        {
            AskAhead();
        }

        for (int j = 0; j < _columns; j++)
        {
            _code.tileloadd(s_tmm[Second + j], __[(j == 0 ? X : X2) + rsi]);
        }

        for (int i = 0; i < _rows; i++)
        {
            _code.tileloadd(s_tmm[First], __[(i == 0 ? Weights : Weights2) + WeightPitch]);
            for (int j = 0; j < _columns; j++)
            {
                _code.tdpbf16ps(Sum(i, j), s_tmm[First], s_tmm[Second + j]);
            }
        }

        if (_rows > 1)
        {
            _code.add(Weights2, Step * sizeof(ushort));
        }

        if (_columns > 1)
        {
            _code.add(X2, XStep);
        }

        _code.add(Weights, Step * sizeof(ushort));
        _code.add(X, XStep);
        _code.dec(Steps);
        _code.jnz(loop);
        StoreSums((i, j) => __[Y + Pitch + (((i * _columns) + j) * AmxShape.TileBytes)]);
        Leave();
        return ToBytes();
    }

    // A single tile is what decoding is bound by memory with.
    private bool AsksAhead => _rows * _columns == 1;

    // Every fourth of a tile's rows of weights.
    private static AssemblerRegister64[] Quarters => [Weights, r10, r13, r14];

    private void AskAhead()
    {
        foreach (AssemblerRegister64 row in Quarters)
        {
            _code.prefetcht0(__byte_ptr[row + Streams.AlongRows]);
            _code.prefetcht0(__byte_ptr[row + WeightPitch + Streams.AlongRows]);
            _code.prefetcht0(__byte_ptr[row + (WeightPitch * 2) + Streams.AlongRows]);
            _code.prefetcht0(__byte_ptr[row + WeightPitch3 + Streams.AlongRows]);
            if (row != Weights)
            {
                _code.add(row, Step * sizeof(ushort));
            }
        }
    }

    private byte[] Pairs()
    {
        Label loop = _code.CreateLabel();
        Enter();
        LoadPitches();
        LoadSums((_, j) => __[Y + Pitch + (j * AmxShape.RowBytes)]);
        _code.mov(XStep, WeightPitch);
        _code.shl(XStep, 4);
        _code.Label(ref loop);
        _code.tileloadd(s_tmm[First], __[X + XPitch]);
        for (int j = 0; j < _columns; j++)
        {
            _code.tileloadd(s_tmm[Second], __[Weights + WeightPitch + (j * AmxShape.RowBytes)]);
            _code.tdpbf16ps(Sum(0, j), s_tmm[First], s_tmm[Second]);
        }

        _code.add(X, Step * sizeof(ushort));
        _code.add(Weights, XStep);
        _code.dec(Steps);
        _code.jnz(loop);
        StoreSums((_, j) => __[Y + Pitch + (j * AmxShape.RowBytes)]);
        Leave();
        return ToBytes();
    }

    private void LoadPitches()
    {
        _code.mov(Y, Field(nameof(TileArguments.Y), __qword_ptr));
        _code.mov(Pitch, Field(nameof(TileArguments.YPitch), __qword_ptr));
    }

    private void LoadSums(Func<int, int, AssemblerMemoryOperand> place)
    {
        Label zero = _code.CreateLabel(), done = _code.CreateLabel();
        _code.cmp(Field(nameof(TileArguments.Adds), __dword_ptr), 0);
        _code.je(zero);
        ForSums((i, j) => _code.tileloadd(Sum(i, j), place(i, j)));
        _code.jmp(done);
        _code.Label(ref zero);
        ForSums((i, j) => _code.tilezero(Sum(i, j)));
        _code.Label(ref done);
    }

    private void StoreSums(Func<int, int, AssemblerMemoryOperand> place) => ForSums((i, j) => _code.tilestored(place(i, j), Sum(i, j)));

    private void ForSums(Action<int, int> emit)
    {
        for (int i = 0; i < _rows; i++)
        {
            for (int j = 0; j < _columns; j++)
            {
                emit(i, j);
            }
        }
    }

    private AssemblerRegisterTMM Sum(int i, int j) => s_tmm[Sums + (i * _columns) + j];
}

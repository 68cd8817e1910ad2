using Iced.Intel;
using PrefixTorch.Kernels.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Amx;

/// <summary>
/// Writes the machine code of products of int4 codes by tiles (AMX): up to sixteen rows of activations times sixteen outputs, over the K block of
/// <see cref="TileProduct"/>. <c>tdpbsud</c> multiplies the 32 bytes of a lane of a block, exactly; then each row and output meets its scales.
/// </summary>
/// <remarks>
/// The same bits as <see cref="TileEmitter"/> gives with <c>vpdpbusd</c>: there a lane of a register is summed up over blocks, and lanes are added up at the end; here
/// lanes are taken one after another, and added up in the same order.
/// </remarks>
internal sealed class AmxCodeEmitter : TileAssembler
{
    /// <summary>Blocks of a K block at most.</summary>
    public const int MostBlocks = TileProduct.KBlock / CodedRows.Block;

    /// <summary>Rows of the second factor: values of a lane, four bytes in each.</summary>
    public const int Depth = AmxCodedRows.RowBytes / sizeof(int);

    /// <summary>Memory that the code needs: for each block a tile of products; sums of lanes, and of quarters.</summary>
    public const int WorkspaceBytes = SumsAt + (Quarters * AmxShape.TileBytes);

    private const int EvenAt = MostBlocks * AmxShape.TileBytes;
    private const int OddAt = EvenAt + AmxShape.TileBytes;
    private const int SumsAt = OddAt + AmxShape.TileBytes;
    private const int Quarters = 4;
    private const int Line = AmxShape.RowBytes;
    private const int FirstTemporary = 16;
    private const int Temporaries = 8;
    private const int Scale = 30;
    private const int Zero = 31;

    private static readonly AssemblerRegisterTMM[] s_products = [tmm0, tmm1, tmm2, tmm3];

    // How the four lanes of a quarter of a register come, to be added up as they are there.
    private static readonly int[] s_order = [0, 2, 1, 3];

    private readonly int _rows;

    private AmxCodeEmitter(int rows) => _rows = rows;

    private static AssemblerRegister64 LaneX => r9;

    private static AssemblerRegister64 LaneWeights => r10;

    private static AssemblerRegister64 Blocks => r11;

    private static AssemblerRegister64 Workspace => r12;

    private static AssemblerRegister64 Sums => r13;

    /// <summary>
    /// The code for so many rows. Of its arguments <see cref="TileArguments.Weights"/> is a panel as <see cref="AmxCodePanel"/> makes it and
    /// <see cref="TileArguments.X"/> a block of <see cref="AmxCodedRows"/>; a step is a block; <see cref="TileArguments.TailMask"/> has a bit for each output.
    /// </summary>
    public static byte[] Emit(int rows) => new AmxCodeEmitter(rows).Assemble();

    private byte[] Assemble()
    {
        Label quarters = _code.CreateLabel();
        Enter();
        _code.mov(Workspace, Field(nameof(TileArguments.Workspace), __qword_ptr));
        _code.lea(Sums, __[Workspace + SumsAt]);
        _code.mov(rcx, Line);
        _code.mov(rsi, AmxCodedRows.RowBytes);
        ForBlocks(block => Multiply(block, 0));
        _code.mov(ebx, Quarters);

        // While a lane is weighed the next one is multiplied: a tile takes a while to come through memory. The last lane multiplies what stands behind it, for nothing.
        _code.Label(ref quarters);
        for (int i = 0; i < s_order.Length; i++)
        {
            int lane = s_order[i], next = i + 1 < s_order.Length ? s_order[i + 1] : s_order.Length;
            for (int row = 0; row < _rows; row++)
            {
                Clear(s_zmm[row]);
            }

            ForBlocks(block =>
            {
                Weigh(block, lane * AmxCodedRows.LaneBytes);
                Multiply(block, next * AmxCodedRows.LaneBytes);
            });
            AddLane(lane);
        }

        _code.add(Sums, _rows * Line);
        _code.add(X, s_order.Length * AmxCodedRows.LaneBytes);
        _code.add(Weights, s_order.Length * AmxCodedRows.LaneBytes);
        _code.dec(ebx);
        _code.jnz(quarters);
        Finish();
        Leave();
        return ToBytes();
    }

    // Lanes two apart, then their neighbours.
    private void AddLane(int lane)
    {
        for (int row = 0; row < _rows; row++)
        {
            AssemblerMemoryOperand even = __zmmword_ptr[Workspace + EvenAt + (row * Line)], odd = __zmmword_ptr[Workspace + OddAt + (row * Line)];
            if (lane >= 2)
            {
                _code.vaddps(s_zmm[row], s_zmm[row], lane == 2 ? even : odd);
            }

            if (lane == 3)
            {
                _code.vaddps(s_zmm[row], s_zmm[row], even);
            }

            _code.vmovaps(lane == 3 ? __zmmword_ptr[Sums + (row * Line)] : lane == 1 ? odd : even, s_zmm[row]);
        }
    }

    private void ForBlocks(Action<int> emit)
    {
        Label done = _code.CreateLabel();
        _code.mov(LaneX, X);
        _code.mov(LaneWeights, Weights);
        _code.mov(Blocks, Steps);
        for (int block = 0; block < MostBlocks; block++)
        {
            emit(block);
            if (block + 1 < MostBlocks)
            {
                _code.dec(Blocks);
                _code.jz(done);
                _code.add(LaneX, AmxCodedRows.BlockBytes);
                _code.add(LaneWeights, AmxCodedRows.BlockBytes);
            }
        }

        _code.Label(ref done);
    }

    // A block's products of the lane so many bytes on, with a tile and memory of the block's own.
    private void Multiply(int block, int lane)
    {
        AssemblerRegisterTMM product = s_products[block];
        _code.tilezero(product);
        _code.tileloadd(tmm4, __[LaneX + rsi + lane]);
        _code.tileloadd(tmm6, __[LaneWeights + rcx + lane]);
        _code.tdpbsud(product, tmm4, tmm6);
        _code.tilestored(__[Workspace + rcx + (block * AmxShape.TileBytes)], product);
    }

    // What a block gives to the sums of the lane so many bytes on.
    private void Weigh(int block, int lane)
    {
        _code.vmovaps(s_zmm[Scale], __zmmword_ptr[LaneWeights + lane + AmxCodePanel.ScalesAt]);
        _code.vmovaps(s_zmm[Zero], __zmmword_ptr[LaneWeights + lane + AmxCodePanel.ZerosAt]);
        for (int row = 0; row < _rows; row++)
        {
            AssemblerRegisterZMM number = s_zmm[FirstTemporary + (row % Temporaries)];
            AssemblerMemoryOperand scale = __dword_bcst[LaneX + lane + AmxCodedRows.ScalesAt + (row * sizeof(float))];
            _code.vcvtdq2ps(number, __zmmword_ptr[Workspace + (block * AmxShape.TileBytes) + (row * Line)]);

            // 16 × code times activation, less zero point times the sum of activations: whole numbers, which fp32 holds exactly.
            _code.vfmadd231ps(number, s_zmm[Zero], __dword_bcst[LaneX + lane + AmxCodedRows.CorrectionsAt + (row * sizeof(float))]);
            _code.vmulps(number, number, scale);
            _code.vfmadd231ps(s_zmm[row], number, s_zmm[Scale]);
        }
    }

    // The quarters two apart, then the halves.
    private void Finish()
    {
        _code.mov(rax, Field(nameof(TileArguments.Y), __qword_ptr));
        _code.mov(rcx, Field(nameof(TileArguments.YPitch), __qword_ptr));
        _code.mov(r8d, Field(nameof(TileArguments.TailMask), __dword_ptr));
        _code.kmovw(k1, r8d);
        _code.mov(r8d, Field(nameof(TileArguments.Adds), __dword_ptr));
        for (int row = 0; row < _rows; row++)
        {
            Label replace = _code.CreateLabel();
            _code.vmovaps(zmm0, Sum(0, row));
            _code.vmovaps(zmm1, Sum(1, row));
            _code.vaddps(zmm0, zmm0, Sum(2, row));
            _code.vaddps(zmm1, zmm1, Sum(3, row));
            _code.vaddps(zmm0, zmm0, zmm1);
            _code.test(r8d, r8d);
            _code.jz(replace);
            _code.vaddps(zmm0.k1, zmm0, __zmmword_ptr[rax]);
            _code.Label(ref replace);
            _code.vmovups(__zmmword_ptr[rax].k1, zmm0);
            _code.add(rax, rcx);
        }
    }

    private AssemblerMemoryOperand Sum(int quarter, int row) => __zmmword_ptr[Workspace + SumsAt + (((quarter * _rows) + row) * Line)];
}

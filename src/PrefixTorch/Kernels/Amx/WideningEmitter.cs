using Iced.Intel;
using PrefixTorch.Kernels.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Amx;

/// <summary>Writes the machine code that widens panels of int4 to bf16, as the second factor of a product by tiles: of each group sixteen registers, of two neighbours in k of every output.</summary>
/// <remarks>
/// <para>
/// A weight is <c>u² × (code − z / 16)</c> times <c>1 / <see cref="Scale"/></c>, its output's scale left out. It is computed in fp16, thirty-two at a time: a code is moved to where it is part
/// of a fraction, a float of 16 to 31, and then one multiplication and subtraction is left. Of that, bf16 has the exponent and the upper seven of ten bits of the fraction, in the same
/// order: a shift by three and an exponent that counts from elsewhere.
/// </para>
/// <para>
/// So a weight is cut off after eight bits: of eight places between two numbers of bf16 it goes to the lower one. What that loses, 3.5 of eight on average, of numbers that are 1 / ln 2 times a
/// power of two on average, <see cref="Scale"/> gives back: so the error is as small as that of rounding.
/// </para>
/// </remarks>
internal sealed class WideningEmitter : TileAssembler
{
    /// <summary>
    /// What an output's scale is to be multiplied with, where its widened weights are used: 2⁶, as 255² would be too much for fp16, 2¹⁶ for the exponents, and what weights lose on average by being cut off.
    /// </summary>
    public static float Scale { get; } = (float)((1 << (SquareBits + 16)) * (1 + (3.5 / 8 / 128 * Math.Log(2))));

    /// <summary>Bytes of a widened block.</summary>
    public const int BlockBytes = CodeFormat.Panel * CodeFormat.Int4Block * sizeof(ushort);

    // u² is so many bits smaller than it should be.
    private const int SquareBits = 6;

    // The truth table of (a and b) or c.
    private const byte AndThenOr = 0xea;

    // A code's place in the fraction of an fp16 number from 16 on; and what bf16 takes of a number that was shifted by three: an exponent of five bits becomes
    // one of eight that is 96 more.
    private const int CodeBit = 6;
    private const ushort CodeBits = 0xf << CodeBit;
    private const ushort SignAndFraction = 0x8fff;
    private const ushort Exponent = 96 << 7;

    private WideningEmitter()
    {
    }

    private static AssemblerRegister64 To => rbx;

    private static AssemblerRegister64 RowTo => r14;

    private static AssemblerRegister64 RowCodes => r13;

    private static AssemblerRegister64 Rows => r11;

    private static AssemblerRegister64 Blocks => r10;

    // Registers of vectors: what is the same for all rows, then what a block has, then what comes and goes.
    private static AssemblerRegisterZMM CodeMask => zmm0;

    private static AssemblerRegisterZMM Sixteen => zmm1;

    private static AssemblerRegisterZMM SignAndFractionMask => zmm2;

    private static AssemblerRegisterZMM ExponentBits => zmm3;

    private static AssemblerRegisterZMM GroupBytes => zmm4;

    private static AssemblerRegisterZMM Root => zmm5;

    private static AssemblerRegisterZMM Sixteenth => zmm6;

    private static AssemblerRegisterZMM GroupScale => zmm7;

    private static AssemblerRegisterZMM Zero => zmm8;

    private static AssemblerRegisterZMM Words => zmm9;

    /// <summary>
    /// Widens <see cref="TileArguments.Rows"/> panels, <see cref="TileArguments.Steps"/> blocks of each, from <see cref="TileArguments.Weights"/> to <see cref="TileArguments.Y"/>.
    /// As far as <see cref="TileArguments.Ahead"/> is from the first block, memory is asked for what is wanted later.
    /// </summary>
    public static byte[] Emit() => new WideningEmitter().Assemble();

    private byte[] Assemble()
    {
        Label row = _code.CreateLabel(), block = _code.CreateLabel(), groups = _code.CreateLabel();
        Enter();
        Broadcast(CodeMask, CodeBits);
        Broadcast(Sixteen, BitConverter.HalfToUInt16Bits((Half)16));
        Broadcast(SignAndFractionMask, SignAndFraction);
        Broadcast(ExponentBits, Exponent);
        Broadcast(Root, BitConverter.HalfToUInt16Bits((Half)Math.Sqrt(1.0 / (1 << SquareBits))));
        Broadcast(Sixteenth, BitConverter.HalfToUInt16Bits((Half)(1.0 / CodeFormat.ZeroParts)));
        _code.vmovdqu32(GroupBytes, __zmmword_ptr[groups]);
        _code.sub(Ahead, Weights);
        _code.mov(RowCodes, Weights);
        _code.mov(RowTo, Field(nameof(TileArguments.Y), __qword_ptr));
        _code.mov(Rows, Field(nameof(TileArguments.Rows), __qword_ptr));
        _code.Label(ref row);
        _code.mov(Weights, RowCodes);
        _code.mov(To, RowTo);
        _code.mov(Blocks, Steps);
        _code.Label(ref block);
        for (int line = 0; line < CodeFormat.Int4BlockBytes; line += Line)
        {
            _code.prefetcht1(__byte_ptr[Weights + Ahead + line]);
        }

        for (int group = 0; group < 2; group++)
        {
            LoadScales(group * CodeFormat.GroupHeader);
            for (int line = group * CodeFormat.GroupCodes; line < (group + 1) * CodeFormat.GroupCodes; line += Line)
            {
                WidenLine(CodeFormat.Int4Header + line, line * 4);
            }
        }

        _code.add(Weights, CodeFormat.Int4BlockBytes);
        _code.add(To, BlockBytes);
        _code.dec(Blocks);
        _code.jnz(block);
        _code.add(RowCodes, WeightPitch);
        _code.add(RowTo, Field(nameof(TileArguments.YPitch), __qword_ptr));
        _code.dec(Rows);
        _code.jnz(row);
        Leave();

        // Byte n of sixteen for both halves of word n, as the lower byte of each; none (128) for the upper one.
        _code.Label(ref groups);
        _code.db([.. Enumerable.Range(0, Line).Select(i => (byte)(i % 2 == 0 ? i / 4 : 128))]);
        return ToBytes();
    }

    private void Broadcast(AssemblerRegisterZMM register, ushort bits)
    {
        _code.mov(r9d, bits);
        _code.vpbroadcastw(register, r9d);
    }

    // A group's scales, and what to subtract from a code, and 16, times its scale: the zero point, and 16, times it.
    private void LoadScales(int header)
    {
        Load(GroupScale, header);
        _code.vmulph(GroupScale, GroupScale, Root);
        _code.vmulph(GroupScale, GroupScale, GroupScale);
        Load(Zero, header + CodeFormat.Panel);
        _code.vfmadd213ph(Zero, Sixteenth, Sixteen);
        _code.vmulph(Zero, Zero, GroupScale);

        void Load(AssemblerRegisterZMM register, int at)
        {
            _code.vbroadcasti32x4(register, __xmmword_ptr[Weights + at]);
            _code.vpshufb(register, register, GroupBytes);
            _code.vcvtuw2ph(register, register);
        }
    }

    // Either half of a word has four codes.
    private void WidenLine(int from, int to)
    {
        _code.vmovdqu32(Words, __zmmword_ptr[Weights + from]);
        for (int i = 0; i < 4; i++)
        {
            AssemblerRegisterZMM weights = s_zmm[16 + i];
            int shift = CodeBit - (4 * i);
            if (shift > 0)
            {
                _code.vpsllw(weights, Words, (byte)shift);
            }
            else
            {
                _code.vpsrlw(weights, Words, (byte)-shift);
            }

            _code.vpternlogd(weights, CodeMask, Sixteen, AndThenOr);
            _code.vfmsub213ph(weights, GroupScale, Zero);
            _code.vpsraw(weights, weights, 3);
            _code.vpternlogd(weights, SignAndFractionMask, ExponentBits, AndThenOr);
            _code.vmovdqa32(__zmmword_ptr[To + to + (i * Line)], weights);
        }
    }
}

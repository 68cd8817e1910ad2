using Iced.Intel;
using PrefixTorch.Kernels.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace PrefixTorch.Kernels.Amx;

/// <summary>Writes the machine code that widens rows of int4 to bf16, in the order in which the codes come out of their words.</summary>
/// <remarks>
/// <para>
/// A weight is <c>u² × (code − z / 16)</c>, its row's scale left out, cut off after eight bits. What that loses, 1 / (4 ln 2) of the last bit's worth on average over all
/// fractions, <c>u²</c> has been given before: so the error is as small as that of rounding, which would take two instructions of nine more.
/// </para>
/// <para>
/// Of a block, step <c>s</c> of 32 has the <c>s</c>th two neighbours of each of the sixteen groups; <see cref="AmxRows"/> lays activations likewise.
/// </para>
/// </remarks>
internal sealed class WideningEmitter : TileAssembler
{
    // The truth table of (a and b) or c.
    private const byte AndThenOr = 0xea;

    private const int Line = Streams.Line;

    // A code that stands from one of these bits on in the fraction of a float is that float, less a whole number that the exponent says.
    private static readonly int[] s_bits = [8, 12, 16];

    private WideningEmitter()
    {
    }

    private static AssemblerRegister64 To => rbx;

    private static AssemblerRegister64 Rows => r12;

    private static AssemblerRegister64 RowCodes => r13;

    private static AssemblerRegister64 RowTo => r14;

    // Registers of vectors: what is the same for all rows, then what a block has, then what comes and goes.
    private static AssemblerRegisterZMM UpperHalves => zmm6;

    private static AssemblerRegisterZMM Root => zmm7;

    private static AssemblerRegisterZMM Sixteenth => zmm8;

    private static AssemblerRegisterZMM GroupScale => zmm9;

    private static AssemblerRegisterZMM Words => zmm13;

    private static AssemblerRegisterZMM Up => zmm14;

    private static AssemblerRegisterZMM Down => zmm15;

    /// <summary>
    /// Widens <see cref="TileArguments.Rows"/> rows, <see cref="TileArguments.Steps"/> blocks of each, from <see cref="TileArguments.Weights"/> to <see cref="TileArguments.Y"/>.
    /// </summary>
    public static byte[] Emit() => new WideningEmitter().Assemble();

    private byte[] Assemble()
    {
        Label row = _code.CreateLabel(), block = _code.CreateLabel();
        Enter();
        for (int i = 0; i < s_bits.Length; i++)
        {
            Broadcast(Mask(i), 0xfu << s_bits[i]);
            Broadcast(Whole(i), BitConverter.SingleToUInt32Bits(1 << (23 - s_bits[i])));
        }

        Broadcast(UpperHalves, 0xffff0000);
        Broadcast(Root, BitConverter.SingleToUInt32Bits((float)Math.Sqrt(1 + (1 / (512 * Math.Log(2))))));
        Broadcast(Sixteenth, BitConverter.SingleToUInt32Bits(1f / CodeFormat.ZeroParts));
        _code.mov(RowCodes, Weights);
        _code.mov(RowTo, Field(nameof(TileArguments.Y), __qword_ptr));
        _code.mov(Rows, Field(nameof(TileArguments.Rows), __qword_ptr));
        _code.Label(ref row);
        _code.mov(Weights, RowCodes);
        _code.mov(To, RowTo);
        _code.mov(r9, Steps);
        _code.Label(ref block);
        LoadScales();
        for (int line = 0; line < CodeFormat.Int4Block / 2; line += Line)
        {
            WidenLine(CodeFormat.Int4Header + line, line * 4);
        }

        _code.add(Weights, CodeFormat.Int4BlockBytes);
        _code.add(To, CodeFormat.Int4Block * sizeof(ushort));
        _code.dec(r9);
        _code.jnz(block);
        _code.add(RowCodes, WeightPitch);
        _code.add(RowTo, Field(nameof(TileArguments.YPitch), __qword_ptr));
        _code.dec(Rows);
        _code.jnz(row);
        Leave();
        return ToBytes();
    }

    private void Broadcast(AssemblerRegisterZMM register, uint bits)
    {
        _code.mov(r9d, bits);
        _code.vpbroadcastd(register, r9d);
    }

    // A block's scales, and what to subtract from a code times its scale: the zero point, and the float's whole number, times it.
    private void LoadScales()
    {
        AssemblerRegisterZMM zero = Words;
        _code.vpmovzxbd(GroupScale, __xmmword_ptr[Weights]);
        _code.vpmovzxbd(zero, __xmmword_ptr[Weights + CodeFormat.Groups]);
        _code.vcvtdq2ps(GroupScale, GroupScale);
        _code.vcvtdq2ps(zero, zero);
        _code.vmulps(GroupScale, GroupScale, Root);
        _code.vmulps(GroupScale, GroupScale, GroupScale);
        _code.vmulps(zero, zero, Sixteenth);
        for (int i = 0; i < s_bits.Length; i++)
        {
            _code.vaddps(Zero(i), zero, Whole(i));
            _code.vmulps(Zero(i), Zero(i), GroupScale);
        }
    }

    // Either half of a word has four codes, which stand where they can be taken as they are, or are moved there.
    private void WidenLine(int from, int to)
    {
        _code.vmovdqu32(Words, __zmmword_ptr[Weights + from]);
        _code.vpslld(Up, Words, 8);
        _code.vpsrld(Down, Words, 12);
        ReadOnlySpan<(AssemblerRegisterZMM Words, int Bit)> lower = [(Up, 0), (Up, 1), (Words, 0), (Words, 1)], upper = [(Words, 2), (Down, 0), (Down, 1), (Down, 2)];
        for (int i = 0; i < lower.Length; i++)
        {
            AssemblerRegisterZMM first = s_zmm[16 + (2 * i)], second = s_zmm[17 + (2 * i)];
            Widen(first, lower[i].Words, lower[i].Bit);
            Widen(second, upper[i].Words, upper[i].Bit);
            _code.vpsrld(first, first, 16);
            _code.vpternlogd(second, UpperHalves, first, AndThenOr);
            _code.vmovdqa32(__zmmword_ptr[To + to + (i * Line)], second);
        }
    }

    private void Widen(AssemblerRegisterZMM register, AssemblerRegisterZMM words, int bit)
    {
        _code.vmovdqa32(register, words);
        _code.vpternlogd(register, Mask(bit), Whole(bit), AndThenOr);
        _code.vfmsub213ps(register, GroupScale, Zero(bit));
    }

    private static AssemblerRegisterZMM Mask(int bit) => s_zmm[bit];

    private static AssemblerRegisterZMM Whole(int bit) => s_zmm[3 + bit];

    private static AssemblerRegisterZMM Zero(int bit) => s_zmm[10 + bit];
}

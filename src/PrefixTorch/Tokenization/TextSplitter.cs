using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>One step of pre-tokenization: cuts a text into pieces that merges never cross. Immutable.</summary>
internal abstract class TextSplitter
{
    /// <summary>What decides its cuts, for the fingerprint.</summary>
    public abstract string Description { get; }

    /// <summary>Adds where each piece of <paramref name="text"/> ends, in order; the last one ends with the text.</summary>
    public abstract void Split(ReadOnlySpan<char> text, List<int> ends);
}

/// <summary>Hugging Face's <c>Digits</c>: digits stand apart from everything else, each alone or in runs.</summary>
internal sealed class DigitSplitter(bool individual) : TextSplitter
{
    public override string Description => individual ? "digit" : "digits";

    public override void Split(ReadOnlySpan<char> text, List<int> ends)
    {
        bool afterDigit = false;
        for (int i = 0; i < text.Length;)
        {
            // Numbers of every kind count (½, Ⅷ), and those beyond the basic plane, so by code point.
            Rune.DecodeFromUtf16(text[i..], out Rune rune, out int length);
            bool digit = Rune.IsNumber(rune);
            if (i > 0 && (digit != afterDigit || (digit && individual)))
            {
                ends.Add(i);
            }

            afterDigit = digit;
            i += length;
        }

        if (!text.IsEmpty)
        {
            ends.Add(text.Length);
        }
    }
}

/// <summary>A new piece before every mark (Hugging Face's <c>Metaspace</c>), or only where the one before is no mark.</summary>
internal sealed class MarkSplitter(char mark, bool keepRuns) : TextSplitter
{
    public override string Description => $"mark {(int)mark:x4} {(keepRuns ? "runs" : "each")}";

    public override void Split(ReadOnlySpan<char> text, List<int> ends)
    {
        for (int i = 1; i < text.Length; i++)
        {
            if (text[i] == mark && !(keepRuns && text[i - 1] == mark))
            {
                ends.Add(i);
            }
        }

        if (!text.IsEmpty)
        {
            ends.Add(text.Length);
        }
    }
}

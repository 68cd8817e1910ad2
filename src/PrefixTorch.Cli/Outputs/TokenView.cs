using PrefixTorch.Tokenization;
using Spectre.Console;

namespace PrefixTorch.Cli.Outputs;

/// <summary>A text with its tokens told apart by colour, for people.</summary>
internal static class TokenView
{
    private static readonly Color[] s_colors = [Color.NavyBlue, Color.DarkGreen, Color.Purple4, Color.DarkRed, Color.Teal];

    public static Paragraph Of(LlamaTokenizer tokenizer, IReadOnlyList<int> ids)
    {
        var text = new Paragraph();
        StreamingDetokenizer detokenizer = tokenizer.CreateDetokenizer();
        for (int i = 0; i < ids.Count; i++)
        {
            string piece = detokenizer.Add(ids[i]) + (i == ids.Count - 1 ? detokenizer.Flush() : "");
            text.Append(piece, new Style(Color.White, s_colors[i % s_colors.Length]));
        }

        return text.Append(Environment.NewLine);
    }
}

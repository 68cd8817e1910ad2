namespace PrefixTorch.Tokenization.Chat;

/// <summary>A piece of a rendered chat and whose it is.</summary>
/// <param name="Text">The characters.</param>
/// <param name="IsTemplateText">
/// True for the template's own text, in which special tokens are meant; false for what came with the messages, the tools
/// or the options, in which they are plain text.
/// </param>
public readonly record struct ChatSegment(string Text, bool IsTemplateText);

/// <summary>A rendered conversation: the text that transformers would render, in pieces that say whose they are.</summary>
public sealed class RenderedChat
{
    internal RenderedChat(IReadOnlyList<ChatSegment> segments)
    {
        Segments = segments;
        Text = string.Concat(segments.Select(segment => segment.Text));
    }

    /// <summary>The whole text.</summary>
    public string Text { get; }

    /// <summary>The text in pieces, in order; neighbours differ in whose they are, and none is empty.</summary>
    public IReadOnlyList<ChatSegment> Segments { get; }

    /// <summary>The text from a character on.</summary>
    internal RenderedChat From(int start)
    {
        var rest = new List<ChatSegment>();
        foreach (ChatSegment segment in Segments)
        {
            if (start < segment.Text.Length)
            {
                rest.Add(segment with { Text = segment.Text[Math.Max(0, start)..] });
            }

            start -= segment.Text.Length;
        }

        return new RenderedChat(rest);
    }
}

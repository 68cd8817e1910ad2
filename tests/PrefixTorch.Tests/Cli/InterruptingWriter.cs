namespace PrefixTorch.Tests.Cli;

/// <summary>Does something, once, as soon as what was written contains a text: presses Ctrl-C, for instance.</summary>
internal sealed class InterruptingWriter(string text, Action action) : StringWriter
{
    private bool _done;

    public override void Write(string? value)
    {
        base.Write(value);
        Look();
    }

    public override void WriteLine(string? value)
    {
        base.WriteLine(value);
        Look();
    }

    private void Look()
    {
        if (!_done && ToString().Contains(text, StringComparison.Ordinal))
        {
            _done = true;
            action();
        }
    }
}

using System.Runtime.CompilerServices;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>What one rendering shares: where it is, what it has written, the date, and what is left of its budget.</summary>
internal sealed class RenderContext(RenderLimits limits, DateTime now)
{
    private long _steps;
    private long _characters;
    private int _macroDepth;

    /// <summary>The line being rendered, for errors.</summary>
    public int Line { get; private set; }

    /// <summary>What <c>strftime_now</c> calls now.</summary>
    public DateTime Now { get; } = now;

    public List<TracedText> Output { get; private set; } = [];

    public ChatTemplateException Error(string message) => new(message, Line);

    /// <summary>Counts one step of work, and refuses nesting that would not fit the stack.</summary>
    public void Step(int line)
    {
        Line = line;
        if (++_steps > limits.MaxSteps)
        {
            throw Error($"rendering did not end within {limits.MaxSteps} steps. Render fewer messages, or mend the template's loops.");
        }

        RuntimeHelpers.EnsureSufficientExecutionStack();
    }

    /// <summary>Counts text about to be made, before it is made.</summary>
    public void Spend(long characters)
    {
        if (characters > limits.MaxLength)
        {
            throw Error($"a text or list of {characters} characters is longer than {limits.MaxLength}. Render fewer messages, or mend the template.");
        }

        _characters += characters;
        if (_characters > limits.MaxCharacters)
        {
            throw Error($"rendering makes more than {limits.MaxCharacters} characters of text. Render fewer messages, or mend the template.");
        }
    }

    public void Write(TracedText text)
    {
        Spend(text.Length);
        Output.Add(text);
    }

    /// <summary>What <paramref name="body"/> writes, as a value instead of as output.</summary>
    public TracedText Capture(Action body)
    {
        List<TracedText> outer = Output;
        Output = [];
        try
        {
            body();
            return TracedText.Concat(Output);
        }
        finally
        {
            Output = outer;
        }
    }

    public TracedText CallMacro(string name, Action body)
    {
        if (++_macroDepth > limits.MaxMacroDepth)
        {
            throw Error($"the macro '{name}' calls itself more than {limits.MaxMacroDepth} deep.");
        }

        TracedText result = Capture(body);
        _macroDepth--;
        return result;
    }
}

namespace PrefixTorch.Cli;

/// <summary>What Ctrl-C does: it ends the program, unless a verb has said that it means something else for a while.</summary>
internal sealed class Interrupts
{
    private Action? _instead;

    /// <summary>Ctrl-C was pressed.</summary>
    /// <returns>Whether a verb took it; otherwise the program is to end.</returns>
    public bool Press()
    {
        Action? instead = Volatile.Read(ref _instead);
        instead?.Invoke();
        return instead is not null;
    }

    /// <summary>Takes Ctrl-C until the result is disposed. The action runs on a thread of the system's.</summary>
    public IDisposable Take(Action instead)
    {
        Volatile.Write(ref _instead, instead);
        return new Taken(this);
    }

    private sealed class Taken(Interrupts interrupts) : IDisposable
    {
        public void Dispose() => Volatile.Write(ref interrupts._instead, null);
    }
}

namespace PrefixTorch.Cli;

/// <summary>What the program returns.</summary>
internal static class ExitCode
{
    /// <summary>Done.</summary>
    public const int Done = 0;

    /// <summary>It could not be done; one line on standard error says why.</summary>
    public const int Failed = 1;

    /// <summary>The command line is wrong; one line on standard error says where.</summary>
    public const int Usage = 2;

    /// <summary>Interrupted: 128 + SIGINT, as shells have it.</summary>
    public const int Interrupted = 130;
}

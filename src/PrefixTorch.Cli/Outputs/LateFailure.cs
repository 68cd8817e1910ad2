using System.Runtime.ExceptionServices;

namespace PrefixTorch.Cli.Outputs;

/// <summary>A state that could not be kept: told when all results have been shown, which are not to be lost with it.</summary>
internal sealed class LateFailure
{
    private ExceptionDispatchInfo? _first;

    /// <summary>Tries something; the first failure is remembered.</summary>
    public void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception error) when (error is PrefixTorchException or IOException or UnauthorizedAccessException)
        {
            _first ??= ExceptionDispatchInfo.Capture(error);
        }
    }

    /// <summary>Throws what was remembered, if anything.</summary>
    public void Throw() => _first?.Throw();
}

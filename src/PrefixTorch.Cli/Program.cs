using System.Runtime.InteropServices;
using PrefixTorch.Cli;

// The first Ctrl-C (or a polite request to end) cancels, so that what was read or generated can be kept; the second one ends the program.
using var cancellation = new CancellationTokenSource();
void Cancel(PosixSignalContext signal)
{
    signal.Cancel = !cancellation.IsCancellationRequested;
    cancellation.Cancel();
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Cancel);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Cancel);
using var streams = Streams.OfThisProcess();
return await CommandLine.RunAsync(args, streams, cancellation.Token).ConfigureAwait(false);

using System.Runtime.InteropServices;
using PrefixTorch.Cli;

// The first Ctrl-C (or a polite request to end) cancels, so that what was read or generated can be kept; the second one ends the program.
// A verb may have taken Ctrl-C for something else: in a chat it stops the answer.
using var cancellation = new CancellationTokenSource();
using var streams = Streams.OfThisProcess();
void Cancel(PosixSignalContext signal)
{
    if (signal.Signal == PosixSignal.SIGINT && streams.Interrupts.Press())
    {
        signal.Cancel = true;
        return;
    }

    signal.Cancel = !cancellation.IsCancellationRequested;
    _ = cancellation.CancelAsync();
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Cancel);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Cancel);
return await CommandLine.RunAsync(args, streams, cancellation.Token).ConfigureAwait(false);

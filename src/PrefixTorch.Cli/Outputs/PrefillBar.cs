using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Outputs;

/// <summary>How far a prompt has been read. A prompt of one chunk shows nothing.</summary>
internal sealed class PrefillBar(Output output) : CountBar(output, "reading"), IProgress<PrefillProgress>
{
    public void Report(PrefillProgress value) => Show(value.Done, value.Total);
}

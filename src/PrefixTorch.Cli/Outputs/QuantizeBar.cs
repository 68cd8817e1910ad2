namespace PrefixTorch.Cli.Outputs;

/// <summary>How many of a checkpoint's matrices have become codes.</summary>
internal sealed class QuantizeBar(Output output) : CountBar(output, "quantizing"), IProgress<(int Done, int Total)>
{
    public void Report((int Done, int Total) value) => Show(value.Done, value.Total);
}

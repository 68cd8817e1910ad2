namespace PrefixTorch.Cli.Verbs;

/// <summary>What can be done with state files, without the model that made them.</summary>
internal sealed class StateVerb : Verb
{
    public StateVerb(Streams streams)
        : base(streams, "state", "What is in state files, how two differ; one file of a chain, one of 8 bits, plain tensors.", "info question.safetensors", "info states/", "diff a.safetensors b.safetensors", "compact branch.safetensors --out whole.safetensors")
    {
        Add(new StateInfoVerb(streams));
        Add(new StateDiffVerb(streams));
        Add(new StateRewriteVerb(streams, "compact", "Make one file of a state and those that it continues.", "branch.safetensors --out whole.safetensors"));
        Add(new StateRewriteVerb(streams, "quantize", "Make a file of 8 bits: about half the bytes, and an error that is told.", "question.safetensors --out small.safetensors"));
        Add(new StateRewriteVerb(streams, "export", "Write plain tensors, for Hugging Face's DynamicCache.", "question.safetensors --out tensors.safetensors"));
    }

    protected override Task<int> RunAsync(VerbCall call, CancellationToken cancellation) =>
        throw new UsageException($"What is to be done with the state was not given: one of {string.Join(", ", Subcommands.Select(part => part.Name))}.");
}

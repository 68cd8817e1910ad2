namespace PrefixTorch.Caching;

/// <summary>Stands for the model that made a state file, where files are read and written without it: it computes nothing.</summary>
/// <param name="part">The file.</param>
/// <param name="text">The text of the file's tokens, all of them, or null where it is not known.</param>
/// <param name="statePath">Where parents are looked for.</param>
internal sealed class KvStateHost(KvStatePart part, string? text, IReadOnlyList<string> statePath) : IKvCacheHost
{
    public KvIdentity Identity { get; } = part.Header.Identity;

    public KvLayout Layout { get; } = part.Header.Layout;

    public bool IsOnHost => true;

    public int VocabSize { get; } = part.Logits?.Shape[0] is long count ? checked((int)count) : int.MaxValue;

    public int MaxPositionEmbeddings => int.MaxValue;

    public IReadOnlyList<string> StatePath { get; } = statePath;

    public string? Decode(int[] ids) => text;

    public KvBuffer Allocate(int capacity, bool fills) => new HostKvBuffer(Layout, capacity, fills);

    public void Evaluate(KvCache cache) => throw new InvalidOperationException("A state that was read without its model cannot compute.");
}

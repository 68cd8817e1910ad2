using PrefixTorch.Caching;

namespace PrefixTorch.Tests.Caching;

/// <summary>Stands for a model of an identity and a shape; it computes nothing.</summary>
internal sealed class ShapeHost(KvIdentity identity, KvLayout layout) : IKvCacheHost
{
    public int MaxPositionEmbeddings { get; init; } = 4096;

    /// <summary>Of each buffer that was asked for, how large it is and whether it was said to fill.</summary>
    public List<(int Capacity, bool Fills)> Buffers { get; } = [];

    KvIdentity IKvCacheHost.Identity => identity;

    KvLayout IKvCacheHost.Layout => layout;

    bool IKvCacheHost.IsOnHost => true;

    int IKvCacheHost.VocabSize => 4096;

    int IKvCacheHost.MaxPositionEmbeddings => MaxPositionEmbeddings;

    IReadOnlyList<string> IKvCacheHost.StatePath => [];

    string? IKvCacheHost.Decode(int[] ids) => null;

    KvBuffer IKvCacheHost.Allocate(int capacity, bool fills)
    {
        Buffers.Add((capacity, fills));
        return new HostKvBuffer(layout, capacity, fills);
    }

    void IKvCacheHost.Evaluate(KvCache cache) => throw new NotSupportedException();
}

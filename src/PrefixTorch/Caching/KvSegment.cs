namespace PrefixTorch.Caching;

/// <summary>A view of a buffer: its tokens <see cref="Start"/> … <see cref="End"/> − 1. A cache is a short list of these.</summary>
internal readonly record struct KvSegment(KvBuffer Buffer, int Start, int End)
{
    /// <summary>Tokens in the view.</summary>
    public int Length => End - Start;
}

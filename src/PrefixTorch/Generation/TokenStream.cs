using PrefixTorch.Caching;

namespace PrefixTorch.Generation;

/// <summary>
/// The tokens of a generation that begins when somebody enumerates them, from a prefix that is cloned before: the caller may dispose his as soon as the call
/// has returned.
/// </summary>
/// <param name="clone">The prefix at the time of the call; owned from here on, and handed to the first enumeration.</param>
/// <param name="prefix">The caller's, for those who enumerate again.</param>
/// <param name="start">Begins a generation; the cache it is given stays the caller's.</param>
internal sealed class TokenStream(KvCache clone, KvCache prefix, Func<KvCache, IAsyncEnumerable<Token>> start) : IAsyncEnumerable<Token>
{
    private KvCache? _clone = clone;

    public async IAsyncEnumerator<Token> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        using KvCache from = Interlocked.Exchange(ref _clone, null) ?? prefix.Clone();
        await foreach (Token token in start(from).WithCancellation(cancellationToken).ConfigureAwait(false))
        {
            yield return token;
        }
    }

    /// <summary>Lets the clone of a stream go that nobody enumerated.</summary>
    ~TokenStream() => _clone?.Dispose();
}

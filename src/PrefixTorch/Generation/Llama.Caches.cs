using System.Globalization;
using System.IO.Hashing;
using System.Text;
using PrefixTorch.Caching;
using PrefixTorch.Checkpoints;
using PrefixTorch.Configuration;

namespace PrefixTorch.Generation;

/// <content>What caches ask of their model, some of it after the model was disposed.</content>
public sealed partial class Llama
{
    private readonly Lock _fingerprintGate = new();
    private string? _fingerprint;
    private KvIdentity? _identity;
    private bool _isFreed;

    KvIdentity IKvCacheHost.Identity => Identity;

    private KvIdentity Identity => _identity ??= Identify();

    KvBuffer IKvCacheHost.Allocate(int capacity, bool fills) =>
        _device is null ? new HostKvBuffer(_layout, capacity, fills) : new TorchKvBuffer(_layout, capacity, _device);

    void IKvCacheHost.Evaluate(KvCache cache)
    {
        try
        {
            _engine.CallAsync(() => Evaluate(cache)).GetAwaiter().GetResult();
        }
        catch (ObjectDisposedException) when (_disposed != 0)
        {
            throw new ObjectDisposedException(nameof(Llama), $"The cache's last token has no keys and values yet, and '{Name}', which computes them, was disposed. Save the cache or read its tensors before, or load the model again and take what its AppendAsync(cache, \"\") gives.");
        }
    }

    private bool Evaluate(KvCache cache)
    {
        (int Id, TokenOrigin Origin)[] pending = cache.Pending;
        if (pending.Length > 0)
        {
            _engine.Compute(cache, [.. pending.Select(token => token.Id)], [.. pending.Select(token => token.Origin)], firstLogits: pending.Length);
        }

        return true;
    }

    private KvIdentity Identify()
    {
        string fingerprint = Fingerprint();
        RopeFrequencies rope = RopeFrequencies.Compute(Config);
        string angles = string.Join(' ', rope.InverseFrequencies.ToArray().Append(rope.AttentionScaling).Select(value => BitConverter.SingleToInt32Bits(value).ToString("x8", CultureInfo.InvariantCulture)));
        string ropePrint = Convert.ToHexStringLower(XxHash128.Hash(Encoding.ASCII.GetBytes(angles)));
        return new KvIdentity(Name, fingerprint, ropePrint, _tokenizer?.Fingerprint ?? "");
    }

    // Of the weights, read once, while they are there.
    private string Fingerprint()
    {
        lock (_fingerprintGate)
        {
            return _fingerprint ??= _isFreed ? throw new ObjectDisposedException(nameof(Llama)) : CheckpointFingerprint.Compute(_checkpoint);
        }
    }

    // Whoever has a cache may save it, or continue it with another instance, when the weights are gone. A few pages of each tensor are read, which
    // were read before to make the cache. Where no cache is left, of any model, there is nobody to ask.
    private void KeepFingerprint()
    {
        lock (_fingerprintGate)
        {
            if (KvBuffer.LiveCount > 0)
            {
                Fingerprint();
            }

            _isFreed = true;
        }
    }
}

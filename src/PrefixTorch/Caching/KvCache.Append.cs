namespace PrefixTorch.Caching;

/// <content>How a cache grows.</content>
public sealed partial class KvCache
{
    private const int SmallestBuffer = 64;
    private const int LargestBuffer = 4096;

    /// <summary>
    /// Claims slots for new tokens behind the evaluated ones. The cache shows them once the append is committed. The caller disposes it.
    /// </summary>
    /// <param name="ids">The new tokens, read in one forward pass.</param>
    /// <param name="origins">Where they came from.</param>
    /// <param name="rest">How many tokens follow in later appends for certain, so that a new buffer has room for them.</param>
    /// <param name="likely">How many are likely to follow those.</param>
    internal KvAppend BeginAppend(ReadOnlySpan<int> ids, ReadOnlySpan<TokenOrigin> origins, int rest = 0, int likely = 0)
    {
        State state = Hold();
        List<KvSegment> segments = [.. state.Segments];
        List<KvSegment> added = [];
        int done = 0;
        try
        {
            if (segments.Count > 0)
            {
                KvSegment last = segments[^1];
                int fits = Math.Min(ids.Length, last.Buffer.Capacity - last.End);
                if (fits > 0 && last.Buffer.TryClaim(last.End, fits))
                {
                    segments[^1] = last with { End = last.End + fits };
                    added.Add(new KvSegment(last.Buffer, last.End, last.End + fits));
                    done = fits;
                }
            }

            if (done < ids.Length)
            {
                // Doubling, to a cap: a long chat lies in a few long buffers, and nothing is ever moved.
                int need = ids.Length - done;
                int capacity = Math.Max(need, Math.Clamp(Math.Max(state.Evaluated, need + rest + likely), SmallestBuffer, LargestBuffer));

                // For certain at least half of it: what is committed at once is at most twice what is needed.
                KvBuffer buffer = _host.Allocate(capacity, fills: need + rest >= capacity / 2);
                buffer.TryClaim(0, need);
                var opened = new KvSegment(buffer, 0, need);
                segments.Add(opened);
                added.Add(opened);
            }
        }
        catch
        {
            added.ForEach(segment => segment.Buffer.Unclaim(segment.Start, segment.End));
            segments.ForEach(segment => segment.Buffer.Release());
            throw;
        }

        done = 0;
        foreach (KvSegment segment in added)
        {
            ids.Slice(done, segment.Length).CopyTo(segment.Buffer.Ids[segment.Start..]);
            origins.Slice(done, segment.Length).CopyTo(segment.Buffer.Origins[segment.Start..]);
            segment.Buffer.PassStarts[segment.Start..segment.End].Clear();
            segment.Buffer.PassStarts[segment.Start] = done == 0;
            done += segment.Length;
        }

        return new KvAppend(this, state, [.. segments], [.. added], state.Evaluated, ids.Length);
    }

    /// <summary>Adds a token that has no keys and values yet; they are computed when first needed, at latest on saving.</summary>
    /// <param name="id">The token.</param>
    /// <param name="origin">Where it came from.</param>
    /// <param name="run">The generation that chose it.</param>
    internal void AddPending(int id, TokenOrigin origin, KvRun? run = null)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _state = _state with { Pending = [.. _state.Pending, (id, origin)], Logits = null, Run = run };
        }
    }

    /// <summary>Computes what is pending, on the model's thread.</summary>
    internal void EnsureEvaluated()
    {
        if (Read().Pending.Length > 0)
        {
            _host.Evaluate(this);
        }
    }

    internal void Commit(KvAppend append, float[]? logits)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            State old = _state;
            if (!ReferenceEquals(old, append.From))
            {
                throw new InvalidOperationException("The cache was changed while tokens were appended to it: a cache has one appender. Give each a clone of its own.");
            }

            (int, TokenOrigin)[] pending = old.Pending.Length <= append.Count ? [] : old.Pending[append.Count..];
            var next = new State(append.Segments, append.Start + append.Count, pending, pending.Length == 0 ? logits : null, old.Run) { Source = old.Source };
            old.HandOverTo(next);
            _state = next;
        }
    }

    // The state, with a hold on each of its buffers.
    private State Hold()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            foreach (KvSegment segment in _state.Segments)
            {
                segment.Buffer.Retain();
            }

            return _state;
        }
    }
}

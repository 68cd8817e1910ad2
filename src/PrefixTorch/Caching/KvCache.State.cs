namespace PrefixTorch.Caching;

/// <content>What a cache is at one moment.</content>
public sealed partial class KvCache
{
    /// <summary>What a cache is at one moment; never changed, only replaced.</summary>
    private sealed record State(KvSegment[] Segments, int Evaluated, (int Id, TokenOrigin Origin)[] Pending, float[]? Logits, KvRun? Run)
    {
        public static readonly State Empty = new([], 0, [], null, null);

        /// <summary>The digest of the state file that the sequence begins with, and how many of its tokens.</summary>
        public (string Digest, int Length)? Source { get; init; }

        public int Length => Evaluated + Pending.Length;

        public int IdAt(int index)
        {
            foreach (KvSegment segment in Segments)
            {
                if (index < segment.Length)
                {
                    return segment.Buffer.Ids[segment.Start + index];
                }

                index -= segment.Length;
            }

            return Pending[index].Id;
        }

        public void CopyIds(Span<int> to)
        {
            int done = 0;
            foreach (KvSegment segment in Segments)
            {
                segment.Buffer.Ids[segment.Start..segment.End].CopyTo(to[done..]);
                done += segment.Length;
            }

            foreach ((int id, _) in Pending)
            {
                to[done++] = id;
            }
        }

        public void CopyOrigins(Span<TokenOrigin> to)
        {
            int done = 0;
            foreach (KvSegment segment in Segments)
            {
                segment.Buffer.Origins[segment.Start..segment.End].CopyTo(to[done..]);
                done += segment.Length;
            }

            foreach ((_, TokenOrigin origin) in Pending)
            {
                to[done++] = origin;
            }
        }

        /// <summary>The pieces that the evaluated tokens were read in: for each token, whether a forward pass began with it.</summary>
        public bool[] CopyPassStarts()
        {
            var starts = new bool[Evaluated];
            int done = 0;
            foreach (KvSegment segment in Segments)
            {
                segment.Buffer.PassStarts[segment.Start..segment.End].CopyTo(starts.AsSpan(done));
                done += segment.Length;
            }

            return starts;
        }

        /// <summary>The first <paramref name="length"/> tokens. Holds nothing: whoever makes it the cache's state sees to that.</summary>
        public State Cut(int length)
        {
            // Of a run whose tokens are all cut off nothing is left to go on with.
            KvRun? run = Run?.PromptLength >= length ? null : Run;
            (string, int)? source = Source is (string digest, int known) ? (digest, Math.Min(known, length)) : null;
            if (length >= Evaluated)
            {
                return this with { Pending = Pending[..(length - Evaluated)], Logits = null, Run = run, Source = source };
            }

            List<KvSegment> kept = [];
            int left = length;
            foreach (KvSegment segment in Segments)
            {
                if (left == 0)
                {
                    break;
                }

                int take = Math.Min(left, segment.Length);
                kept.Add(segment with { End = segment.Start + take });
                left -= take;
            }

            return new State([.. kept], length, [], null, run) { Source = source };
        }

        /// <summary>Holds the buffers for a cache.</summary>
        public void Retain()
        {
            foreach (KvSegment segment in Segments)
            {
                segment.Buffer.RetainView(segment.End);
            }
        }

        /// <summary>Lets the buffers go for a cache.</summary>
        public void Release()
        {
            foreach (KvSegment segment in Segments)
            {
                segment.Buffer.ReleaseView(segment.End);
            }
        }

        /// <summary>Holds what <paramref name="next"/> has and this has not, and lets go of what it has no more.</summary>
        public void HandOverTo(State next)
        {
            int same = 0;
            while (same < Segments.Length && same < next.Segments.Length && Segments[same] == next.Segments[same])
            {
                same++;
            }

            for (int i = same; i < next.Segments.Length; i++)
            {
                next.Segments[i].Buffer.RetainView(next.Segments[i].End);
            }

            for (int i = same; i < Segments.Length; i++)
            {
                Segments[i].Buffer.ReleaseView(Segments[i].End);
            }
        }
    }
}

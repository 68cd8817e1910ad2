using PrefixTorch.Caching;
using PrefixTorch.Model;
using PrefixTorch.Sampling;

namespace PrefixTorch.Generation;

/// <content>How well the model foretells a text, and how far it is from another.</content>
public sealed partial class Llama
{
    // Enough for the products of many rows; the logits of more would take memory for nothing.
    private const int PerplexityPiece = 128;

    /// <summary>
    /// Reads a text and measures how well each token was foretold; where it is asked for, also how far the distributions are from those of another model,
    /// or of this one's other way to compute.
    /// </summary>
    /// <param name="ids">The text's tokens.</param>
    /// <param name="options">Windows, and what is compared.</param>
    /// <param name="progress">Told of the tokens read, piece by piece.</param>
    /// <param name="cancellationToken">Ends it, between layers.</param>
    /// <exception cref="PrefixTorchException">The ids are not the model's, there are fewer than two, or the reference has another vocabulary.</exception>
    public async Task<PerplexityReport> PerplexityAsync(int[] ids, PerplexityOptions? options = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(ids);
        options ??= new();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Context, 2, nameof(options));
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        CheckIds(ids, 0, ids.Length);
        if (ids.Length < 2)
        {
            throw new PrefixTorchException($"The text has {ids.Length} tokens, and the first is foretold by nothing: give a longer text.");
        }

        Llama? reference = options.Reference;
        if (reference is not null && (reference.Config.VocabSize != Config.VocabSize || (HasTokenizer && reference.HasTokenizer && Tokenizer.Fingerprint != reference.Tokenizer.Fingerprint)))
        {
            throw new PrefixTorchException($"'{Name}' and '{reference.Name}' have other tokens ({Config.VocabSize} and {reference.Config.VocabSize}): their distributions cannot be compared. Give a model with the same tokenizer.");
        }

        var own = new Likelihood();
        var fromReference = new Comparison();
        var ofDecodePath = new Comparison();
        int context = Math.Min(options.Context, Math.Min(Config.MaxPositionEmbeddings, reference?.Config.MaxPositionEmbeddings ?? int.MaxValue));
        for (int start = 0; start < ids.Length; start += context)
        {
            int[] window = ids[start..Math.Min(start + context, ids.Length)];
            using var cache = new KvCache(this);
            using KvCache? theirs = reference is null ? null : new KvCache(reference);
            using KvCache? decoded = options.DecodePath ? new KvCache(this) : null;
            for (int done = 0; done < window.Length; done += PerplexityPiece)
            {
                int[] piece = window[done..Math.Min(done + PerplexityPiece, window.Length)];
                int[] next = window[(done + 1)..Math.Min(done + PerplexityPiece + 1, window.Length)];
                float[] logits = await RowsAsync(cache, piece, PerplexityPiece, cancellationToken).ConfigureAwait(false);
                own.Add(logits, next, Config.VocabSize);
                if (theirs is not null)
                {
                    fromReference.Add(await reference!.RowsAsync(theirs, piece, PerplexityPiece, cancellationToken).ConfigureAwait(false), logits, next, Config.VocabSize);
                }

                if (decoded is not null)
                {
                    ofDecodePath.Add(logits, await RowsAsync(decoded, piece, Step.FewRows, cancellationToken).ConfigureAwait(false), next, Config.VocabSize, ofSecond: true);
                }

                progress?.Report(new PrefillProgress(start + done + piece.Length, ids.Length));
            }
        }

        return new PerplexityReport(ids.Length, own.Count, own.Mean)
        {
            FromReference = reference is null ? null : fromReference.Result,
            OfDecodePath = options.DecodePath ? ofDecodePath.Result : null,
        };
    }

    // The logits after each token that is appended, in passes of so many at most.
    private async Task<float[]> RowsAsync(KvCache cache, int[] ids, int piece, CancellationToken cancellationToken)
    {
        piece = Math.Min(piece, Options.PrefillChunk);
        var rows = new float[ids.Length * (long)Config.VocabSize];
        for (int done = 0; done < ids.Length; done += piece)
        {
            int first = done, count = Math.Min(piece, ids.Length - done);
            float[] logits = await _engine.CallAsync(() => _engine.Compute(cache, ids.AsSpan(first, count), new TokenOrigin[count], firstLogits: 0, cancellation: cancellationToken)).ConfigureAwait(false);
            logits.CopyTo(rows, first * (long)Config.VocabSize);
        }

        return rows;
    }

    /// <summary>The surprises of a text's tokens, added up.</summary>
    private sealed class Likelihood
    {
        private double _sum;

        public int Count { get; private set; }

        public double Mean => _sum / Count;

        public void Add(float[] logits, int[] next, int vocabulary)
        {
            var surprises = new double[next.Length];
            Parallel.For(0, next.Length, row => surprises[row] = -LogProbs.Of(logits.AsSpan(row * vocabulary, vocabulary), next[row]));
            _sum += surprises.Sum();
            Count += next.Length;
        }
    }

    /// <summary>The distances between the distributions of two ways to compute, added up.</summary>
    private sealed class Comparison
    {
        private readonly Likelihood _other = new();
        private double _sum;
        private double _largest;
        private int _same;

        public Divergence Result => new(Math.Exp(_other.Mean), _sum / _other.Count, _largest, (double)_same / _other.Count);

        /// <summary>Adds the distances of <paramref name="second"/> from <paramref name="first"/>; the other's perplexity is the first's, or the second's.</summary>
        public void Add(float[] first, float[] second, int[] next, int vocabulary, bool ofSecond = false)
        {
            _other.Add(ofSecond ? second : first, next, vocabulary);
            var distances = new double[next.Length];
            var same = new bool[next.Length];
            Parallel.For(0, next.Length, row =>
            {
                ReadOnlySpan<float> a = first.AsSpan(row * vocabulary, vocabulary), b = second.AsSpan(row * vocabulary, vocabulary);
                distances[row] = LogProbs.Divergence(a, b);
                same[row] = LogProbs.Best(a) == LogProbs.Best(b);
            });
            _sum += distances.Sum();
            _largest = Math.Max(_largest, distances.DefaultIfEmpty().Max());
            _same += same.Count(match => match);
        }
    }
}

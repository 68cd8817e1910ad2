namespace PrefixTorch.Model.Operations;

/// <summary>
/// The seven operations that the forward pass is written in. One implementation is plain libtorch, on any device; the other is for the CPU.
/// </summary>
/// <typeparam name="TRows">Activations, <c>[T, columns]</c>.</typeparam>
/// <remarks>
/// Used from one thread. Rows live until the scope they were made in ends. Shape letters: T rows of the step, C hidden, H query heads, KV
/// key/value heads, D head_dim, I intermediate, V vocabulary.
/// </remarks>
internal interface IOperations<TRows> : IDisposable
{
    /// <summary>Begins a step; disposing the result ends it and frees all its rows.</summary>
    IDisposable Begin(Step step);

    /// <summary>Begins a scope for temporaries; disposing the result frees the rows that were made in it.</summary>
    IDisposable Scope();

    /// <summary>Rows of the embedding, one for each id of the step: <c>[T, C]</c>.</summary>
    TRows Embed(WeightMatrix embedding);

    /// <summary>RMSNorm of each row.</summary>
    TRows Norm(TRows x, Vector weight);

    /// <summary><c>x Wᵀ + b</c>: <c>[T, N]</c>.</summary>
    TRows Linear(TRows x, Linear linear);

    /// <summary>
    /// Takes query, key and value side by side (<c>[T, (H + 2 KV) D]</c>), turns query and key by their position, and writes key and
    /// value into the step's slots, rounded to the cache's dtype, before anything attends to them.
    /// </summary>
    void RopeAndAppend(TRows queryKeyValue, int layer);

    /// <summary>Each row attends to its sequence's past and to itself: <c>[T, H D]</c>. Follows <see cref="RopeAndAppend"/> of the same layer and rows.</summary>
    TRows Attend(TRows queryKeyValue, int layer);

    /// <summary><c>silu(gate) × up</c> of gate and up side by side: <c>[T, 2 I]</c> to <c>[T, I]</c>.</summary>
    TRows SwiGlu(TRows gateUp);

    /// <summary><c>x += y</c>, in place.</summary>
    void Add(TRows x, TRows y);

    /// <summary>The given rows.</summary>
    TRows Select(TRows x, int[] rows);

    /// <summary>A copy as fp32, row-major.</summary>
    float[] Read(TRows x);

    /// <summary>Copies as fp32, row-major, into memory of exactly that size.</summary>
    void Read(TRows x, Span<float> to);
}

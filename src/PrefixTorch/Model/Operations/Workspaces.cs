namespace PrefixTorch.Model.Operations;

/// <summary>Memory for as many threads as share a job: whoever begins a block takes a free piece, and gives it back.</summary>
internal readonly unsafe struct Workspaces
{
    private readonly int* _taken;
    private readonly byte* _data;
    private readonly long _bytes;
    private readonly int _count;

    private Workspaces(int* taken, byte* data, long bytes, int count)
    {
        _taken = taken;
        _data = data;
        _bytes = bytes;
        _count = count;
    }

    /// <summary>Whether there are any.</summary>
    public bool Exist => _count > 0;

    /// <summary>Takes the memory of all.</summary>
    public static Workspaces Take(Arena arena, int count, long bytes)
    {
        int* taken = (int*)arena.Take(count * sizeof(int));
        new Span<int>(taken, count).Clear();
        return new(taken, arena.Take(count * bytes), bytes, count);
    }

    /// <summary>A free one. No more blocks run at once than there are workspaces.</summary>
    public byte* Enter(out int index)
    {
        for (index = 0; Interlocked.CompareExchange(ref _taken[index], 1, 0) != 0;)
        {
            index = (index + 1) % _count;
        }

        return _data + index * _bytes;
    }

    /// <summary>Gives it back.</summary>
    public void Leave(int index) => Volatile.Write(ref _taken[index], 0);
}

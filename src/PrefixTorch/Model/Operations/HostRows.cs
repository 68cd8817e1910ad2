using PrefixTorch.Memory;

namespace PrefixTorch.Model.Operations;

/// <summary>Activations in host memory, <c>[Rows, Columns]</c>, row-major: a view of the arena they were made in.</summary>
internal readonly unsafe struct HostRows(byte* data, DType dtype, int rows, int columns)
{
    /// <summary>The first element.</summary>
    public byte* Data => data;

    /// <summary>fp32, or bf16 between two bf16 products.</summary>
    public DType DType => dtype;

    /// <summary>Rows (T).</summary>
    public int Rows => rows;

    /// <summary>Elements of a row.</summary>
    public int Columns => columns;

    /// <summary>The first element of fp32 rows.</summary>
    public float* Floats => (float*)data;

    /// <summary>A row.</summary>
    public byte* Row(int row) => data + (long)row * columns * dtype.Size();
}

/// <summary>
/// Memory for the rows of one step: taken in order, given back in scopes. It keeps what the largest step so far needed, so that decoding
/// allocates nothing.
/// </summary>
internal sealed unsafe class Arena : IDisposable
{
    private const long SmallestBlock = 1 << 20;

    private readonly List<NativeBlock> _blocks = [];
    private int _block;
    private long _offset;

    /// <summary>Takes <paramref name="byteCount"/> bytes, aligned, undefined.</summary>
    public byte* Take(long byteCount)
    {
        byteCount = (byteCount + NativeBlock.Alignment - 1) / NativeBlock.Alignment * NativeBlock.Alignment;
        while (_block < _blocks.Count && _offset + byteCount > _blocks[_block].ByteCount)
        {
            _block++;
            _offset = 0;
        }

        if (_block == _blocks.Count)
        {
            _blocks.Add(NativeBlock.Allocate(Math.Max(byteCount, _blocks.Count == 0 ? SmallestBlock : 2 * _blocks[^1].ByteCount)));
            _offset = 0;
        }

        byte* taken = _blocks[_block].Pointer + _offset;
        _offset += byteCount;
        return taken;
    }

    /// <summary>Takes rows.</summary>
    public HostRows TakeRows(DType dtype, int rows, int columns) => new(Take((long)rows * columns * dtype.Size()), dtype, rows, columns);

    /// <summary>Where the arena stands, to go back to.</summary>
    public (int Block, long Offset) Mark() => (_block, _offset);

    /// <summary>Gives back everything taken since the mark.</summary>
    public void Reset((int Block, long Offset) mark) => (_block, _offset) = mark;

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        foreach (NativeBlock block in _blocks)
        {
            block.Release();
        }

        _blocks.Clear();
        (_block, _offset) = (0, 0);
    }
}

using PrefixTorch.Caching;
using PrefixTorch.Kernels;

namespace PrefixTorch.Model.Operations;

/// <summary>
/// Which keys the rows of a step attend to, cut into blocks: made once per step, used by every layer.
/// </summary>
/// <remarks>
/// A block is a fixed range of absolute positions, wherever segments begin and end, so that a row's result does not depend on how its past is
/// stored. Sequences that share a block's memory (branches over one prefix) share the block: its keys are read once for all of their rows.
/// </remarks>
internal sealed class AttentionPlan
{
    /// <summary>Positions in a block.</summary>
    public const int BlockSize = 256;

    private AttentionPlan(List<Block> blocks, int[] firstPartial, int[] blocksOfRow)
    {
        Blocks = blocks;
        FirstPartial = firstPartial;
        BlocksOfRow = blocksOfRow;
    }

    /// <summary>The blocks.</summary>
    public List<Block> Blocks { get; }

    /// <summary>For each row, how many partial results of one head stand before its own.</summary>
    public int[] FirstPartial { get; }

    /// <summary>For each row, how many blocks it attends to.</summary>
    public int[] BlocksOfRow { get; }

    /// <summary>Partial results of one head, all rows together.</summary>
    public int Partials => FirstPartial.Length == 0 ? 0 : FirstPartial[^1] + BlocksOfRow[^1];

    /// <summary>How many blocks a row at a position attends to.</summary>
    public static int BlocksAt(int position) => position / BlockSize + 1;

    /// <summary>Plans a step.</summary>
    public static AttentionPlan For(Step step)
    {
        var firstPartial = new int[step.Rows];
        var blocksOfRow = new int[step.Rows];
        int partials = 0;
        for (int row = 0; row < step.Rows; row++)
        {
            firstPartial[row] = partials;
            blocksOfRow[row] = BlocksAt(step.Positions[row]);
            partials += blocksOfRow[row];
        }

        List<Block> blocks = [];
        Dictionary<(KvBuffer, int, int, int), Block> shared = [];
        foreach (StepSlice slice in step.Slices)
        {
            int index = 0;
            foreach (List<Piece> pieces in Cut(slice.Append.Segments))
            {
                // Pieces that begin in one place and are as many are one memory: a segment's slots are consecutive, and a second piece
                // begins where a buffer ended.
                Piece first = pieces[0];
                (KvBuffer, int, int, int) key = (first.Buffer, first.Slot, pieces.Count, pieces.Sum(piece => piece.Count));
                if (!shared.TryGetValue(key, out Block? block) || !block.Pieces.SequenceEqual(pieces))
                {
                    shared[key] = block = new Block(index, [.. pieces]);
                    blocks.Add(block);
                }

                int blockStart = index * BlockSize;
                for (int t = Math.Max(0, blockStart - slice.Start); t < slice.Count; t++)
                {
                    block.Rows.Add((slice.FirstRow + t, Math.Min(BlockSize, slice.Start + t + 1 - blockStart)));
                }

                index++;
            }
        }

        return new AttentionPlan(blocks, firstPartial, blocksOfRow);
    }

    /// <summary>A chain of segments in blocks, each a few pieces of buffers.</summary>
    public static IEnumerable<List<Piece>> Cut(KvSegment[] segments)
    {
        List<Piece> pieces = [];
        int room = BlockSize;
        foreach (KvSegment segment in segments)
        {
            for (int slot = segment.Start; slot < segment.End;)
            {
                int count = Math.Min(room, segment.End - slot);
                pieces.Add(new Piece(segment.Buffer, slot, count));
                slot += count;
                room -= count;
                if (room == 0)
                {
                    yield return pieces;
                    pieces = [];
                    room = BlockSize;
                }
            }
        }

        if (pieces.Count > 0)
        {
            yield return pieces;
        }
    }

    /// <summary>Consecutive slots of a buffer.</summary>
    public readonly record struct Piece(KvBuffer Buffer, int Slot, int Count)
    {
        /// <summary>Where they lie, for one head of a layer.</summary>
        public unsafe KeyValueRun Run(int layer, int head) => new()
        {
            Keys = Buffer.Keys(layer, head, Slot),
            Values = Buffer.Values(layer, head, Slot),
            KeyScales = Buffer.KeyScales(layer, head, Slot),
            ValueScales = Buffer.ValueScales(layer, head, Slot),
            Count = Count,
        };
    }

    /// <summary>A block of keys and the rows that attend to it.</summary>
    /// <param name="Index">Its place in the rows' sequences: block <c>i</c> begins at position <c>i × BlockSize</c>.</param>
    /// <param name="Pieces">Where its keys lie, in order.</param>
    public sealed record Block(int Index, Piece[] Pieces)
    {
        /// <summary>The rows, each with how many of the block's keys it may see.</summary>
        public List<(int Row, int Limit)> Rows { get; } = [];
    }
}

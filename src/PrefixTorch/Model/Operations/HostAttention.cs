using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Model.Operations;

/// <content>
/// Attention, shared out in two ways. Of few rows, blocks of keys are: the rows that share a block meet it together, and partial results of all blocks are merged
/// when all are there. Of many rows, rows are: some of one sequence go over all blocks of their past. Either way the blocks and what is computed over them are the
/// same, so that a row gives the same bits whether it is read alone or in a long prompt.
/// </content>
internal sealed unsafe partial class HostOperations
{
    private int Groups => Heads / KvHeads;

    // Floats of a partial result.
    private int PartialStride => HeadDim + 2;

    private void AttendByBlocks(AttentionPlan plan, HostRows queryKeyValue, int layer, HostRows output)
    {
        float* partials = (float*)_arena.Take((long)plan.Partials * Heads * PartialStride * sizeof(float));
        var job = new BlockJob(this, plan, queryKeyValue, layer, partials);
        _pool.Run(plan.Blocks.Count * KvHeads, ref job);
        var merge = new MergeJob(this, plan, partials, output);
        ForRows(output.Rows, ref merge);
    }

    private void AttendByRows(RowTile[] tiles, HostRows queryKeyValue, int layer, HostRows output)
    {
        using var scratch = new ArenaScope(_arena);
        long most = (long)tiles.Max(tile => tile.Count * tile.BlockCount) * Groups;
        var job = new RowsJob(this, tiles, queryKeyValue, layer, output, Workspaces.Take(_arena, _pool.Threads, most * PartialStride * sizeof(float)));
        _pool.Run(tiles.Length * KvHeads, ref job);
    }

    // As many rows as fill a call of the kernel with the queries of one key/value head.
    private RowTile[] TilesOf(Step step)
    {
        int rows = Math.Max(1, AttentionQuery.Most / Groups);
        List<RowTile> tiles = [];
        foreach (StepSlice slice in step.Slices)
        {
            AttentionPlan.Piece[][] blocks = [.. AttentionPlan.Cut(slice.Append.Segments).Select(pieces => pieces.ToArray())];
            for (int t = 0; t < slice.Count; t += rows)
            {
                tiles.Add(new(slice.FirstRow + t, Math.Min(rows, slice.Count - t), slice.Start + t, blocks));
            }
        }

        return [.. tiles];
    }

    // A row's results from the partial ones of its blocks, for some heads; those of one head begin so many floats after the one's before.
    private void Merge(float* partials, long next, int blocks, HostRows output, int row, int firstHead, int heads)
    {
        float* merged = stackalloc float[HeadDim];
        long headBytes = (long)HeadDim * output.DType.Size();
        for (int i = 0; i < heads; i++)
        {
            _kernels.AttentionMerge(partials + i * next, PartialStride, blocks, HeadDim, merged);
            _kernels.Convert(DType.Float32, (byte*)merged, output.DType, output.Row(row) + (firstHead + i) * headBytes, HeadDim);
        }
    }

    /// <summary>Consecutive rows of a sequence.</summary>
    /// <param name="FirstRow">The first one.</param>
    /// <param name="Count">How many.</param>
    /// <param name="Position">The first one's position.</param>
    /// <param name="Blocks">The blocks of the whole sequence.</param>
    private readonly record struct RowTile(int FirstRow, int Count, int Position, AttentionPlan.Piece[][] Blocks)
    {
        /// <summary>Blocks that the last row attends to.</summary>
        public int BlockCount => AttentionPlan.BlocksAt(Position + Count - 1);
    }

    /// <summary>Queries that meet one block of one key/value head, given to the kernel as many at a time as it takes. The caller's memory: runs and queries.</summary>
    private struct BlockCall(HostOperations ops, HostRows queryKeyValue, int kvHead, DType dtype, KeyValueRun* runs, AttentionQuery* queries)
    {
        private int _count;

        /// <summary>A row's queries, and where the partial result of each goes: so many floats after the one's before.</summary>
        public void Add(int row, float* partial, long next, int limit)
        {
            float* values = (float*)queryKeyValue.Row(row) + (long)kvHead * ops.Groups * ops.HeadDim;
            for (int i = 0; i < ops.Groups; i++)
            {
                if (_count == AttentionQuery.Most)
                {
                    Run();
                }

                queries[_count++] = new() { Values = values + (long)i * ops.HeadDim, Partial = partial + i * next, Limit = limit };
            }
        }

        /// <summary>Computes what has been added.</summary>
        public void Run()
        {
            ops._kernels.AttentionPartials(dtype, ops._rowDType == DType.BFloat16, runs, queries, _count, ops.HeadDim);
            _count = 0;
        }

        /// <summary>Where the block's pieces lie, for one head of a layer.</summary>
        public static void Place(AttentionPlan.Piece[] pieces, int layer, int kvHead, KeyValueRun* runs)
        {
            for (int i = 0; i < pieces.Length; i++)
            {
                runs[i] = pieces[i].Run(layer, kvHead);
            }
        }
    }

    /// <summary>One block of keys of one head, for every row that shares it and every query of the head's group.</summary>
    private readonly struct BlockJob(HostOperations ops, AttentionPlan plan, HostRows queryKeyValue, int layer, float* partials) : IBlockJob
    {
        [SkipLocalsInit]
        public void Run(int item)
        {
            // Head by head: a head's blocks of a segment lie one after another.
            AttentionPlan.Block block = plan.Blocks[item % plan.Blocks.Count];
            int kvHead = item / plan.Blocks.Count, stride = ops.PartialStride;
            KeyValueRun* runs = stackalloc KeyValueRun[block.Pieces.Length];
            AttentionQuery* queries = stackalloc AttentionQuery[AttentionQuery.Most];
            BlockCall.Place(block.Pieces, layer, kvHead, runs);
            var call = new BlockCall(ops, queryKeyValue, kvHead, block.Pieces[0].Buffer.Layout.DType, runs, queries);
            foreach ((int row, int limit) in CollectionsMarshal.AsSpan(block.Rows))
            {
                long blocks = plan.BlocksOfRow[row];
                call.Add(row, partials + ((long)plan.FirstPartial[row] * ops.Heads + kvHead * ops.Groups * blocks + block.Index) * stride, blocks * stride, limit);
            }

            call.Run();
        }
    }

    /// <summary>One row: its blocks merged, head by head.</summary>
    private readonly struct MergeJob(HostOperations ops, AttentionPlan plan, float* partials, HostRows output) : IBlockJob
    {
        public void Run(int row)
        {
            int stride = ops.PartialStride, blocks = plan.BlocksOfRow[row];
            ops.Merge(partials + (long)plan.FirstPartial[row] * ops.Heads * stride, (long)blocks * stride, blocks, output, row, 0, ops.Heads);
        }
    }

    /// <summary>One tile of rows and one key/value head: its blocks one after another, then their merge.</summary>
    private readonly struct RowsJob(HostOperations ops, RowTile[] tiles, HostRows queryKeyValue, int layer, HostRows output, Workspaces workspaces) : IBlockJob
    {
        public void Run(int item)
        {
            // Head by head: its keys and values stay in the second cache level while its rows pass.
            RowTile tile = tiles[item % tiles.Length];
            int kvHead = item / tiles.Length, stride = ops.PartialStride;
            long next = (long)tile.BlockCount * stride;
            var partials = (float*)workspaces.Enter(out int index);
            for (int block = 0; block < tile.BlockCount; block++)
            {
                Attend(tile, block, kvHead, partials + (block * stride), next);
            }

            for (int row = 0; row < tile.Count; row++)
            {
                ops.Merge(partials + row * ops.Groups * next, next, AttentionPlan.BlocksAt(tile.Position + row), output, tile.FirstRow + row, kvHead * ops.Groups, ops.Groups);
            }

            workspaces.Leave(index);
        }

        // The tile's queries against one block; each query's partial results are so many floats after the one's before.
        [SkipLocalsInit]
        private void Attend(RowTile tile, int block, int kvHead, float* partials, long next)
        {
            AttentionPlan.Piece[] pieces = tile.Blocks[block];
            KeyValueRun* runs = stackalloc KeyValueRun[pieces.Length];
            AttentionQuery* queries = stackalloc AttentionQuery[AttentionQuery.Most];
            BlockCall.Place(pieces, layer, kvHead, runs);
            var call = new BlockCall(ops, queryKeyValue, kvHead, pieces[0].Buffer.Layout.DType, runs, queries);
            int start = block * AttentionPlan.BlockSize;
            for (int row = Math.Max(0, start - tile.Position); row < tile.Count; row++)
            {
                call.Add(tile.FirstRow + row, partials + row * ops.Groups * next, next, Math.Min(AttentionPlan.BlockSize, tile.Position + row + 1 - start));
            }

            call.Run();
        }
    }
}

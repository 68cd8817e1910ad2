using System.Runtime.CompilerServices;
using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Model.Operations;

/// <content>
/// Attention of many rows: some rows of one sequence and one key/value head at a time, over all blocks of their past. The blocks, and what is computed
/// over them, are those of few rows, so that a row gives the same bits whether it is read alone or in a long prompt.
/// </content>
internal sealed unsafe partial class HostOperations
{
    /// <summary>Consecutive rows of a sequence, and the blocks that the last of them attends to.</summary>
    private readonly record struct RowTile(int FirstRow, int Count, int Position, AttentionPlan.Piece[][] Blocks);

    // As many rows as fill a call of the kernel with the queries of one key/value head.
    private RowTile[] TilesOf(Step step)
    {
        int rows = Math.Max(1, AttentionQuery.Most / (Heads / KvHeads));
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

    private HostRows AttendByRows(RowTile[] tiles, HostRows queryKeyValue, int layer, HostRows output)
    {
        using var scratch = new ArenaScope(_arena);
        int most = tiles.Max(tile => tile.Count * BlocksOf(tile)) * (Heads / KvHeads);
        var job = new RowsJob(this, tiles, queryKeyValue, layer, output, Workspaces.Take(_arena, _pool.Threads, (long)most * (HeadDim + 2) * sizeof(float)));
        _pool.Run(tiles.Length * KvHeads, ref job);
        return output;
    }

    private static int BlocksOf(RowTile tile) => ((tile.Position + tile.Count - 1) / AttentionPlan.BlockSize) + 1;

    /// <summary>One tile of rows and one key/value head: its blocks one after another, then their merge.</summary>
    private readonly struct RowsJob(HostOperations ops, RowTile[] tiles, HostRows queryKeyValue, int layer, HostRows output, Workspaces workspaces) : IBlockJob
    {
        [SkipLocalsInit]
        public void Run(int item)
        {
            // Head by head: its keys and values stay in the second cache level while its rows pass.
            RowTile tile = tiles[item % tiles.Length];
            int kvHead = item / tiles.Length, groups = ops.Heads / ops.KvHeads, blocks = BlocksOf(tile), stride = ops.HeadDim + 2;
            var partials = (float*)workspaces.Enter(out int index);
            for (int block = 0; block < blocks; block++)
            {
                Attend(tile, block, kvHead, partials + (block * stride), blocks * stride);
            }

            float* merged = stackalloc float[ops.HeadDim];
            for (int row = 0; row < tile.Count; row++)
            {
                int seen = ((tile.Position + row) / AttentionPlan.BlockSize) + 1;
                for (int head = 0; head < groups; head++)
                {
                    float* first = partials + ((row * groups) + head) * (long)blocks * stride;
                    byte* to = output.Row(tile.FirstRow + row) + ((long)(kvHead * groups) + head) * ops.HeadDim * output.DType.Size();
                    ops._kernels.AttentionMerge(first, stride, seen, ops.HeadDim, merged);
                    ops._kernels.Convert(DType.Float32, (byte*)merged, output.DType, to, ops.HeadDim);
                }
            }

            workspaces.Leave(index);
        }

        // The tile's queries against one block; each query's partial results are so many floats after the one's before.
        private void Attend(RowTile tile, int block, int kvHead, float* partials, int next)
        {
            AttentionPlan.Piece[] pieces = tile.Blocks[block];
            KeyValueRun* runs = stackalloc KeyValueRun[pieces.Length];
            for (int i = 0; i < pieces.Length; i++)
            {
                runs[i] = pieces[i].Run(layer, kvHead);
            }

            AttentionQuery* queries = stackalloc AttentionQuery[AttentionQuery.Most];
            DType dtype = pieces[0].Buffer.Layout.DType;
            int groups = ops.Heads / ops.KvHeads, count = 0;
            for (int query = 0; query < tile.Count * groups; query++)
            {
                int row = query / groups, limit = Math.Min(AttentionPlan.BlockSize, tile.Position + row + 1 - (block * AttentionPlan.BlockSize));
                if (limit > 0)
                {
                    float* values = (float*)queryKeyValue.Row(tile.FirstRow + row) + ((long)(kvHead * groups) + (query % groups)) * ops.HeadDim;
                    queries[count++] = new() { Values = values, Partial = partials + ((long)query * next), Limit = limit };
                }

                if (count == AttentionQuery.Most || (query == tile.Count * groups - 1 && count > 0))
                {
                    ops._kernels.AttentionPartials(dtype, runs, queries, count, ops.HeadDim);
                    count = 0;
                }
            }
        }
    }
}
